"""The task's own loss over batches, as one number to compare models by."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress.calibration.chains import forward_arguments
from hf_compress.tasks.row_kind import IGNORED
from hf_compress.tasks.task_loss import task_kind


def mean_loss(model: nn.Module, batches: Iterable[Mapping[str, Any]]) -> float:
    """sum_b items_b * loss_b / sum_b items_b: the head's loss of every batch by its number of items (tokens, rows).

    Args:
        model: with a head; runs in evaluation mode.
        batches: keyword arguments of it, with labels; of a language model the tokens are their own labels where there are
            none. Of several processes each brings its own.

    Returns:
        In nats an item, for heads with cross-entropy.

    Raises:
        CompressionError: there are no labels, or no loss comes of them.
    """
    device, total, items = next(model.parameters()).device, 0.0, 0
    with torch.no_grad(), evaluating_without_gradients(model):
        for batch in batches:
            given = _with_labels(model, on_device(batch, device))
            loss = getattr(model(**forward_arguments(model, given)), "loss", None)
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                raise CompressionError(
                    f"{type(model).__name__} gives no loss for a batch of {', '.join(given)}; models of a budget are"
                    " compared by it, so give batches with labels and a model with a head, or counts"
                )
            count = int(task_kind(model, given.get("labels")).num_items(given))
            total, items = total + float(loss) * count, items + count
    everyone = _distributed.gather((total, items))
    total, items = sum(one for one, _ in everyone), sum(one for _, one in everyone)
    if not items:
        raise CompressionError("calibration holds no label to learn from, so a budget has no loss to compare models by")
    return total / items


def _with_labels(model: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
    if "labels" in batch or "start_positions" in batch or task_kind(model).name != "shifted_tokens":
        return batch
    labels, mask = batch["input_ids"], batch.get("attention_mask")
    return {**batch, "labels": labels if mask is None else labels.masked_fill(mask == 0, IGNORED)}
