"""What a teacher says about a batch."""

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

Kind = Literal["shifted_tokens", "tokens", "single_label", "multi_label", "regression"]
"""What one row of logits is: a distribution over the next token, over the token here, or over classes; independent labels;
numbers."""


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A teacher's answer, without gradient.

    Attributes:
        logits: (..., V); the leading dimensions are those of the student's logits.
        kind: what a row is; a loss that depends on it asks here.
        common: V where the student has more classes and only its first V mean the same; None = all are compared.
    """

    logits: Tensor
    kind: Kind = "tokens"
    common: int | None = None

    def flat(self) -> "Signal":
        """(..., V) -> (N, V)."""
        return replace(self, logits=self.logits.reshape(-1, self.logits.shape[-1]))

    def rows(self, index: Tensor) -> "Signal":
        """The rows `index` (n,) of a flat signal, in fp32."""
        return replace(self, logits=self.logits[index].float())
