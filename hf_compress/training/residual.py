"""Boosting inside the Trainer: a model is trained on what the sum of earlier ones leaves over."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress.training.trainer import CompressionTrainer


class ResidualTrainer(CompressionTrainer):
    """Trains f_k with the loss of F_{k-1} + f_k, where F_{k-1} = sum_j eta_j f_j is frozen.

    Classes: -log softmax(F_{k-1}(x) + f_k(x))[label], so that the gradient in f_k is softmax(F) - onehot, the residual of
    the sum so far. Numbers: (F_{k-1}(x) + f_k(x) - y)^2. Both are means over the labels of the accumulated batch (-100
    counts for none). Predictions and metrics of an evaluation are those of F_{k-1} + f_k. Earlier members are asked about
    each batch anew, in evaluation mode and without gradients; they stand in no checkpoint, and draw no random numbers.

    Args:
        earlier: f_1 ... f_{k-1}: models whose outputs have `logits` (B, C); none: f_1 is trained.
        step_sizes: eta_j, one each; None: all 1.
        *args, **kwargs: of `CompressionTrainer`.

    Raises:
        CompressionError: numbers of members and step sizes differ, a teacher is given too, or several processes train.

    Source: Friedman (2001), https://doi.org/10.1214/aos/1013203451, algorithm 1, by gradient steps in place of trees;
    Badirli et al. (2020), https://arxiv.org/abs/2002.07971.
    """

    def __init__(
        self, *args: Any, earlier: Sequence[nn.Module] = (), step_sizes: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        if kwargs.get("distillation") is not None:
            raise CompressionError("a ResidualTrainer has a loss of its own; leave distillation out")
        self.earlier = [model.eval().requires_grad_(False) for model in earlier]
        self.step_sizes = [1.0] * len(self.earlier) if step_sizes is None else [float(size) for size in step_sizes]
        if len(self.step_sizes) != len(self.earlier):
            raise CompressionError(
                f"{len(self.step_sizes)} step sizes for {len(self.earlier)} earlier members; give one each"
            )
        _distributed.refuse_several("boosting")
        super().__init__(*args, **{**kwargs, "exact_task_loss": False})
        if getattr(getattr(self.model, "config", None), "problem_type", None) == "multi_label_classification":
            raise CompressionError(
                "boosting adds the logits of one label or number for a row, and this model is for several"
            )
        # The loss divides by the items of the accumulated batch, which the Trainer then counts.
        self.model_accepts_loss_kwargs = True
        for model in self.earlier:
            model.to(self.args.device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The loss of the sum; its logits are what is given back.

        Raises:
            CompressionError: a batch without labels.
        """
        if inputs.get("labels") is None:
            raise CompressionError("a batch has no labels, and boosting learns from what the members so far leave of them")
        asked = {key: value for key, value in inputs.items() if key != "labels"}
        own = model(**asked).logits
        logits = own.float() + self.sum_so_far(asked, own)
        loss = residual_loss(logits, inputs["labels"], num_items_in_batch)
        return (loss, SequenceClassifierOutput(loss=loss, logits=logits)) if return_outputs else loss

    @torch.no_grad()
    def sum_so_far(self, inputs: dict[str, Any], like: Tensor) -> Tensor:
        """F_{k-1} of a batch, in fp32; zeros in the shape of `like` without members."""
        total = torch.zeros_like(like, dtype=torch.float32)
        for size, member in zip(self.step_sizes, self.earlier, strict=True):
            total += size * member(**inputs).logits.float()
        return total


def residual_loss(logits: Tensor, labels: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Cross-entropy of classes, squared error of floating-point labels, as a sum over labels divided by `num_items`.

    Args:
        logits: (B, C); of numbers (B, 1), or (B, D) for D each.
        labels: (B,) classes, -100 for none; or numbers, as many as logits.
        num_items: None: those of this batch.
    """
    if labels.is_floating_point():
        items: Tensor | int = labels.numel()
        total = functional.mse_loss(logits.reshape(labels.shape), labels.float(), reduction="sum")
    else:
        items = (labels != -100).sum().clamp(min=1)
        total = functional.cross_entropy(logits, labels.view(-1), reduction="sum")
    return total / (items if num_items is None else num_items)
