"""The next token."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from hf_compress.tasks.row_kind import IGNORED, RowKind, TaskRows, labelled_rows


@dataclass(frozen=True, kw_only=True)
class ShiftedTokens(RowKind, name="shifted_tokens"):
    """Logits (B, T, V): those at t are a distribution over the token at t + 1."""

    predicts: ClassVar[str] = "tokens"

    def num_items(self, batch: Mapping[str, Any]) -> Tensor:
        """Labels that are predicted: not the first."""
        shifted = batch.get("shift_labels")
        items: Tensor = ((batch["labels"][..., 1:] if shifted is None else shifted) != IGNORED).sum()
        return items

    def rows(self, logits: Tensor, targets: Mapping[str, Tensor], facts: Mapping[str, Any]) -> TaskRows:
        """The logits at t with the label at t + 1, or with those that the collator has shifted."""
        shifted = targets.get("shift_labels")
        if shifted is None:
            # The last position predicts nothing; a label of -100 there keeps logits in one piece, without a copy.
            shifted = functional.pad(targets["labels"][..., 1:], (0, 1), value=IGNORED)
        return labelled_rows(logits, shifted)
