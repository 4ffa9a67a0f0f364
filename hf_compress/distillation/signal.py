"""What a teacher says about a batch."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A teacher's answer, without gradient.

    Attributes:
        logits: (..., V); the leading dimensions are those of the student's logits.
    """

    logits: Tensor

    def flat(self) -> "Signal":
        """(..., V) -> (N, V)."""
        return Signal(logits=self.logits.reshape(-1, self.logits.shape[-1]))

    def rows(self, index: Tensor) -> "Signal":
        """The rows `index` (n,) of a flat signal, in fp32."""
        return Signal(logits=self.logits[index].float())
