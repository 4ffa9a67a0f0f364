"""One of several classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hf_compress.tasks.row_kind import RowKind, TaskRows, labelled_rows


@dataclass(frozen=True, kw_only=True)
class SingleLabel(RowKind, name="single_label"):
    """Logits (B, V): a distribution over the classes of the example."""

    predicts: ClassVar[str] = "classes"

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """A row for every example."""
        return labelled_rows(logits, targets["labels"])
