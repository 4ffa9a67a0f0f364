"""Numbers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from hf_compress.tasks.entry_rows import EntryRows


@dataclass(frozen=True, kw_only=True)
class Regression(EntryRows, name="regression"):
    """Logits (B, V): numbers, and no distribution."""

    predicts: ClassVar[str] = "numbers (regression)"

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error."""
        return functional.mse_loss(logits, labels.to(logits.dtype), reduction="sum")

    def agreement(self, student: Tensor, teacher: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Numbers are never alike."""
        return student.new_zeros(()), student.new_zeros(())
