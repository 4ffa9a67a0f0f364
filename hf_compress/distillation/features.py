"""A loss on what happens inside the models, summed over the positions of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.distillation.loss import FeatureLoss
from hf_compress.distillation.signal import Signal
from hf_compress.tasks.row_kind import TaskRows


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Attributes:
    keep: (B, T) bool, False = padding.
    each: (B, T), how much a position counts; an example's add up to its items in the task loss.
    """

    keep: Tensor
    each: Tensor


class Positions:
    """Which positions of a batch are no padding, and how much each counts.

    An example has as many items w_b in the task loss as it has valid rows or entries. They are spread evenly over its n_b
    positions that are no padding, so that a loss over the batch is

        sum_b w_b / n_b sum_t loss[b, t],

    and divided by the items of the accumulated batch the examples' mean. No term depends on other examples: the sums of two
    halves of a batch add up to that of the whole.

    Args:
        inputs: the batch, for its attention mask.
        examples: B.
        rows: its rows in the task loss.
    """

    def __init__(self, inputs: Mapping[str, Any], examples: int, rows: TaskRows) -> None:
        self._mask = inputs.get("attention_mask")
        self._valid = rows.keep.reshape(examples, -1)
        self._items = rows.items_of_rows.reshape(examples, -1).sum(1)
        self._positions = rows.positions

    def of(self, student: Signal, teacher: Signal, loss: FeatureLoss) -> _Weights:
        """Those that a loss compares: of layers all but padding, of logits alone those that count in the task loss.

        Raises:
            CompressionError: the models see other positions, or the attention mask is that of something else, e.g. of sound
                before it is cut into frames.
        """
        keep, size = self._valid, _size(student, loss)
        if size is not None:
            other = _size(teacher, loss)
            if other != size:
                raise CompressionError(
                    f"{loss.name} compares position by position, and the student's layers have {size[1]} and the teacher's"
                    f" {other[1] if other else 0} for the same batch; take a loss on logits"
                )
            keep = self._valid.new_ones(size)
            if self._positions is not None and tuple(self._positions.shape) == size:
                keep = self._positions
            elif isinstance(self._mask, Tensor) and self._mask.dim() == 2:
                if tuple(self._mask.shape) != size:
                    raise CompressionError(
                        f"attention_mask has the shape {tuple(self._mask.shape)} and the model's layers {size}, so"
                        f" {loss.name} cannot know what in them is padding; take a loss on logits"
                    )
                keep = self._mask.bool()
        share = self._items / keep.sum(1).clamp(min=1)
        return _Weights(keep=keep, each=keep * share.unsqueeze(1))


def _size(signal: Signal, loss: FeatureLoss) -> tuple[int, int] | None:
    """B and T of the layers that a loss compares; None where it compares none."""
    for need, layers in (("hidden_states", signal.hidden_states), ("attentions", signal.attentions)):
        if need in loss.needs and layers.size is not None:
            return layers.size
    return None


def check_attached(student: Signal) -> None:
    """Refuse layers that lead nowhere, whose loss would be logged and teach nothing.

    Raises:
        CompressionError: the last one carries no gradient.
    """
    for words, layers in (("hidden states", student.hidden_states), ("attention maps", student.attentions)):
        if len(layers) and not layers[-1].requires_grad:
            raise CompressionError(
                f"the student's {words} carry no gradient, so a loss on them would change nothing: reentrant checkpointing"
                " cuts them off (set use_reentrant to false), or no weight below them is trained"
            )


def feature_sum(
    loss: FeatureLoss, projection: nn.Module | None, student: Signal, teacher: Signal, positions: Positions
) -> Tensor:
    """The loss over the batch, see `Positions`; a scalar.

    Args:
        loss: which.
        projection: what it built.
        student: what it needs, attached to the graph.
        teacher: the same of the teacher.
        positions: of the batch.

    Raises:
        CompressionError: see `Positions.of`; or the loss returns another shape.
    """
    weights = positions.of(student, teacher, loss)
    values = loss(student, teacher, weights.keep, projection)
    if values.shape != weights.keep.shape:
        raise CompressionError(
            f"{loss.name} returns the shape {tuple(values.shape)}, and one number is expected for each of"
            f" {tuple(weights.keep.shape)} positions"
        )
    return (torch.where(weights.keep, values, 0.0) * weights.each).sum()
