"""The contract of a distillation loss."""

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress.distillation.signal import Signal


class DistillationLoss(Strategy, kind="distillation loss", package="hf_compress.distillation.losses"):
    """Compares the student's logits with a teacher's signal."""

    def __call__(self, student: Tensor, signal: Signal, keep: Tensor) -> Tensor:
        """The loss over some positions.

        Args:
            student: (N, V) fp32 logits; gradients flow here only.
            signal: the teacher's, rows as in `student`.
            keep: (N,) bool, True = counts.

        Returns:
            Scalar **sum** over kept rows, in nats. The caller divides by the number of items in the accumulated batch, so
            that the gradient does not depend on how the batch is split.
        """
        raise TypeError(f"{type(self).__name__} defines no __call__()")
