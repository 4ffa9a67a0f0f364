"""The contract of a kind of row: what a row of a model's logits is, and the task loss of rows.

The losses inside transformers' heads return means, and those of BERT, T5, Whisper, question answering and CTC ignore the
number of items in the accumulated batch, which makes them too large by the number of accumulation steps; so with
distillation on, the task loss is computed here, from logits and labels, as a sum that can be chunked and split.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class TaskRows:
    """A batch cut into rows; examples one behind the other, each with equally many.

    Attributes:
        logits: (N, V), attached to the graph.
        keep: (N,) bool, True = counts.
        items: scalar; what the task loss of this batch is divided by, before `RowKind.divisor`.
        labels: (N,) class ids, or (N, V) targets for multi_label and regression; None where a row has no label of its own.
        weights: (N,), how much a row's distillation counts, equal within an example; None = the items of a row.
        whole: the task loss of the batch as a sum, where it is no sum over rows; attached to the graph.
        positions: (B, T) bool, False = padding, where only the kind knows it.
    """

    logits: Tensor
    keep: Tensor
    items: Tensor
    labels: Tensor | None = None
    weights: Tensor | None = None
    whole: Tensor | None = None
    positions: Tensor | None = None

    @property
    def items_of_rows(self) -> Tensor:
        """(N,): how much each row counts in the losses, 0 where it does not."""
        if self.weights is not None:
            return self.keep * self.weights
        return self.keep * (1.0 if self.labels is None else self.labels.numel() / self.keep.numel())


@dataclass(frozen=True, kw_only=True)
class RowKind(Strategy, kind="kind of row", package="hf_compress.tasks.rows"):
    """What one row of a model's logits is. Its name stands in `Kind` (`distillation/signal.py`), for losses to name it.

    Attributes:
        predicts: what a row is a distribution over, in words.
        targets: the batch's tensors that say what is right.
        counted_by_trainer: the Trainer's number of items in an accumulated batch (labels that are not -100) is right.
        head_divides: heads that hand the number of items on to their loss divide by it.
    """

    predicts: ClassVar[str]
    targets: ClassVar[tuple[str, ...]] = ("labels",)
    counted_by_trainer: ClassVar[bool] = True
    head_divides: ClassVar[bool] = True

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """That of a model, whose config may decide more.

        Raises:
            CompressionError: the head is called like others and has a loss of its own.
        """
        return cls()

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """What the task loss of a batch is divided by, before `divisor`; they add up over batches and processes."""
        items: Tensor = (batch["labels"] != IGNORED).sum()
        return items

    def divisor(self, items: Tensor) -> Tensor:
        """The number that a sum over the accumulated batch is divided by, from its items; by default themselves."""
        return items

    def prepared(self, logits: Tensor, facts: Mapping[str, Any]) -> Tensor:
        """A model's logits without what is no answer, the student's and the teacher's alike; by default as they are."""
        return logits

    @contextlib.contextmanager
    def listening(self, model: Any) -> Iterator[dict[str, Any]]:
        """Around the student's forward pass: what the head says of the batch, for `rows`; by default nothing.

        Args:
            model: the transformers model itself.
        """
        yield {}

    @property
    def listens(self) -> bool:
        """Whether the head must be given its labels to be listened to."""
        return type(self).listening is not RowKind.listening

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """Cut a batch into rows.

        Args:
            logits: as `prepared` leaves them.
            targets: the batch's, and `shift_labels` where the collator made them.
            facts: the batch's other inputs, and what `listening` heard.

        Raises:
            CompressionError: logits and labels do not fit together.
        """
        raise TypeError(f"{type(self).__name__} defines no rows()")

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The task loss summed over kept rows, in nats; not asked where `TaskRows.whole` says it.

        Args:
            logits: (n, V) fp32.
            labels: as in `TaskRows`.
        """
        return functional.cross_entropy(logits, labels, reduction="sum")

    def agreement(self, student: Tensor, teacher: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """(decisions that both make alike, how many were looked at); by default the most likely class of every row.

        Args:
            student: (n, V).
            teacher: (n, V).
            stride: look at every so many rows alone.
        """
        student, teacher = student[::stride], teacher[::stride]
        alike = student.gather(-1, teacher.max(-1, keepdim=True).indices).squeeze(-1) >= student.amax(-1)
        return alike.sum(dtype=torch.float32), student.new_full((), alike.numel())


@functools.cache
def row_kind(name: str) -> type[RowKind]:
    """The class of a kind of row."""
    return RowKind.available()[name]


def labelled_rows(logits: Tensor, labels: Tensor) -> TaskRows:
    """Rows with a class id each: logits (..., V) and labels (...), -100 = does not count.

    Raises:
        CompressionError: logits and labels do not fit together.
    """
    rows, flat = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    if flat.shape[0] != rows.shape[0]:
        raise CompressionError(
            f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} do not fit together; labels"
            " must have one entry per position"
        )
    keep = flat != IGNORED
    return TaskRows(logits=rows, labels=flat, keep=keep, items=keep.sum())
