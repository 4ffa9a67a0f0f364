"""The share of predictions that are one of the right ones, letter for letter."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import means, values
from hf_compress.tasks.metrics.texts import lists_of_references

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class ExactMatch(Metric, name="exact_match"):
    """Predictions that equal a reference of their row / all predictions, in [0, 1]; of classes it is the accuracy.

    Attributes:
        ignore_case: compare lower-case texts.
        ignore_punctuation: compare texts without ASCII punctuation.
        ignore_numbers: compare texts without the digits 0 to 9.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("texts", "classes")
    greater_is_better: ClassVar[bool] = True

    ignore_case: bool = False
    ignore_punctuation: bool = False
    ignore_numbers: bool = False

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """exact_match."""
        right = self._right(predictions, references)
        return {"exact_match": sum(right) / len(right)}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Rows, and the right ones."""
        return values([[right] for right in self._right(predictions, references)])

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """The mean."""
        return means(sums, self.gives)

    def _right(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[bool]:
        if not isinstance(predictions[0], str):
            return [bool(found == truth) for found, truth in zip(predictions, references, strict=True)]
        removed = string.punctuation * self.ignore_punctuation + string.digits * self.ignore_numbers
        table = str.maketrans("", "", removed)

        def plain(text: str) -> str:
            return (text.lower() if self.ignore_case else text).translate(table)

        return [
            plain(found) in map(plain, texts)
            for found, texts in zip(predictions, lists_of_references(self.name, references), strict=True)
        ]
