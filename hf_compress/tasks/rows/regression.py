"""Numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_compress.tasks.row_kind import RowKind, TaskRows, entry_rows


@dataclass(frozen=True, kw_only=True)
class Regression(RowKind, name="regression"):
    """Logits (B, V): numbers, and no distribution."""

    predicts: ClassVar[str] = "numbers (regression)"
    head_divides: ClassVar[bool] = False

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """Every entry."""
        return torch.tensor(batch["labels"].numel(), device=batch["labels"].device)

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """A row for every example."""
        return entry_rows(logits, targets["labels"])

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Squared error."""
        return functional.mse_loss(logits, labels.to(logits.dtype), reduction="sum")

    def agreement(self, student: Tensor, teacher: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Numbers are never alike."""
        return student.new_zeros(()), student.new_zeros(())
