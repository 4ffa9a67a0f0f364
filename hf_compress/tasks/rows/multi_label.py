"""Independent labels."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_compress.tasks.entry_rows import EntryRows


@dataclass(frozen=True, kw_only=True)
class MultiLabel(EntryRows, name="multi_label"):
    """Logits (B, V): each is the log odds of a label that may hold beside others."""

    predicts: ClassVar[str] = "independent labels"

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy over all entries."""
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")

    def agreement(self, student: Tensor, teacher: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Labels that both take or both leave."""
        alike = (student > 0) == (teacher > 0)
        return alike.sum(dtype=torch.float32), student.new_full((), alike.numel())
