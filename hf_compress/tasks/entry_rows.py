"""What kinds of rows share whose every entry has a target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress.tasks.row_kind import RowKind, TaskRows


@dataclass(frozen=True, kw_only=True)
class EntryRows(RowKind):
    """Logits and labels are (..., V), and every entry counts."""

    head_divides: ClassVar[bool] = False

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """Every entry."""
        return torch.tensor(batch["labels"].numel(), device=batch["labels"].device)

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """A row for every example."""
        width = logits.shape[-1]
        labels = targets["labels"].reshape(-1, width)
        keep = torch.ones_like(labels[:, 0], dtype=torch.bool)
        return TaskRows(logits=logits.reshape(-1, width), labels=labels, keep=keep, items=self.num_items(targets))
