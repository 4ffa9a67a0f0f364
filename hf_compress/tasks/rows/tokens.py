"""The token, or the class of the token, at a place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from hf_compress.tasks.row_kind import RowKind, TaskRows, labelled_rows


@dataclass(frozen=True, kw_only=True)
class Tokens(RowKind, name="tokens"):
    """Logits (B, T, V): those at t are a distribution over what the label at t says."""

    predicts: ClassVar[str] = "tokens"

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """A row for every position."""
        return labelled_rows(logits, targets["labels"])
