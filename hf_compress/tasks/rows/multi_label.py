"""Independent labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hf_compress.tasks.row_kind import RowKind, TaskRows, entry_rows


@dataclass(frozen=True, kw_only=True)
class MultiLabel(RowKind, name="multi_label"):
    """Logits (B, V): each is the log odds of a label that may hold beside others."""

    predicts: ClassVar[str] = "independent labels"
    head_divides: ClassVar[bool] = False

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """Every entry."""
        return torch.tensor(batch["labels"].numel(), device=batch["labels"].device)

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """A row for every example."""
        return entry_rows(logits, targets["labels"])

    def loss_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy over all entries."""
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="sum")

    def agreement(self, student: Tensor, teacher: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Labels that both take or both leave."""
        alike = (student > 0) == (teacher > 0)
        return alike.sum(dtype=torch.float32), student.new_full((), alike.numel())
