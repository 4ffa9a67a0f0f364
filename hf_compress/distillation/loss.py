"""The contract of a distillation loss."""

from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress.distillation.signal import Kind, Signal


class DistillationLoss(Strategy, kind="distillation loss", package="hf_compress.distillation.losses"):
    """Compares the student's logits with a teacher's signal.

    Attributes:
        kinds: the kinds of rows it is defined for; a run whose model has others is refused before it starts.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("shifted_tokens", "tokens", "single_label")

    def __call__(self, student: Tensor, signal: Signal, keep: Tensor) -> Tensor:
        """The loss over some positions.

        Args:
            student: (N, V) fp32 logits; gradients flow here only.
            signal: the teacher's, rows as in `student`; `signal.kind` is one of `kinds`.
            keep: (N,) bool, True = counts.

        Returns:
            Scalar **sum** over what the task loss divides by: kept rows, in nats; for independent labels and for numbers
            every entry of a kept row. The caller divides by the number of items in the accumulated batch, so that the
            gradient does not depend on how the batch is split.
        """
        raise TypeError(f"{type(self).__name__} defines no __call__()")
