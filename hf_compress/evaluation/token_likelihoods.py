"""What a language model gave each token that came, and nothing else of its logits."""

from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._progress import progress
from hf_compress.inputs.batches import model_inputs
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.row_kind import RowKind
from hf_compress.tasks.task import Task


def has_tokens(task: Task) -> bool:
    """Whether rows of its logits are distributions over the token that comes next."""
    return task.logit_rows == "shifted_tokens"


@torch.no_grad()
def token_likelihoods(model: Any, opened: Opened, split: str, batch_size: int, description: str) -> Tensor:
    """Log p of every token of a split that counts, (N,) fp32 on the CPU, in the order of the rows.

    Of a batch's logits (B, T, V) one number for each token is kept, so memory does not grow with the vocabulary.

    Args:
        model: in eval mode, on the device where it is measured.
        opened: task, processor and examples.
        split: which examples.
        batch_size: examples at once.
        description: the progress bar's label.

    Raises:
        CompressionError: no token counts.
    """
    kind = RowKind.available()[str(opened.task.logit_rows)].of(model)
    found = []
    batches = opened.task.batches(opened.examples[split], opened.processor, batch_size)
    for batch in progress(batches, description, leave=False):
        logits = model(**model_inputs(batch, model)).logits
        targets = {"labels": batch["labels"].to(logits.device)}
        rows = kind.rows(logits, targets, {})
        assert rows.labels is not None
        labels = rows.labels[rows.keep]
        found.append(rows.logits[rows.keep].float().log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).cpu())
    if not sum(map(len, found)):
        raise CompressionError(f"data.path: no token of the {split} split counts")
    return torch.cat(found)
