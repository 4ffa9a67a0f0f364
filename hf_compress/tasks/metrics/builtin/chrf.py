"""Translations, by the character sequences that they share with right ones."""

import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import share
from hf_compress.tasks.metrics.texts import lists_of_references, reference_streams

if TYPE_CHECKING:
    from numpy import ndarray

_PUNCTUATION = frozenset(string.punctuation)


@dataclass(frozen=True, kw_only=True)
class ChrF(Metric, name="chrf"):
    """(1 + beta**2) P R / (beta**2 P + R) of character n-grams, of the whole corpus, in [0, 100], by sacrebleu.

    P and R are means over n = 1..char_order. Rows have one reference or more, of which the best counts.

    Attributes:
        char_order: the longest character n-grams.
        word_order: the longest word n-grams that count beside them; 2 is chrF++.
        beta: how much recall counts compared with precision.
        lowercase: compare lower-case texts.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("texts",)
    greater_is_better: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Maja Popović",
        title="chrF: character n-gram F-score for automatic MT evaluation",
        year=2015,
        link="https://aclanthology.org/W15-3049",
    )

    char_order: int = 6
    word_order: int = 0
    beta: int = 2
    lowercase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("char_order", 1), ("word_order", 0), ("beta", 1)):
            if getattr(self, name) < least:
                raise CompressionError(f"{name}={getattr(self, name)} must be {least} or more")

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Chrf."""
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF(char_order=self.char_order, word_order=self.word_order, beta=self.beta, lowercase=self.lowercase)
        return {"chrf": float(metric.corpus_score(list(predictions), reference_streams(self.name, references)).score)}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """For every order n-grams of the prediction, of the reference, and in both; of the reference that fits best."""
        import numpy

        rows = []
        for predicted, texts in zip(predictions, lists_of_references(self.name, references), strict=True):
            own = self._grams(predicted)
            each = numpy.array([_counts(own, self._grams(text)) for text in texts], dtype=numpy.float64)
            rows.append(each[self.of_sums(each)["chrf"].argmax()])
        return numpy.stack(rows)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """P and R are means over the orders that both sides have."""
        parts = sums.reshape(len(sums), -1, 3)
        predicted, there, both = parts[..., 0], parts[..., 1], parts[..., 2]
        counted = (predicted > 0) & (there > 0)
        orders = counted.sum(1)
        precision = share((share(both, predicted) * counted).sum(1), orders)
        recall = share((share(both, there) * counted).sum(1), orders)
        return {"chrf": 100 * share((1 + self.beta**2) * precision * recall, self.beta**2 * precision + recall)}

    def _grams(self, text: str) -> "list[Counter[Any]]":
        """Those of each order, of characters without spaces, then of words without their punctuation."""
        text = text.lower() if self.lowercase else text
        characters, words = "".join(text.split()), _words(text)
        sequences: list[tuple[Sequence[str], int]] = [(characters, n) for n in range(1, self.char_order + 1)]
        sequences += [(words, n) for n in range(1, self.word_order + 1)]
        return [Counter(tuple(sequence[at : at + n]) for at in range(len(sequence) - n + 1)) for sequence, n in sequences]


def _counts(own: "list[Counter[Any]]", other: "list[Counter[Any]]") -> list[int]:
    """n-grams of the prediction, where the reference has any, of the reference, and in both."""
    counts: list[int] = []
    for one, right in zip(own, other, strict=True):
        counts += [one.total() if right else 0, right.total(), (one & right).total()]
    return counts


def _words(text: str) -> list[str]:
    """As sacrebleu and chrF++ split: a word's last sign of punctuation, or else its first, stands alone."""
    made: list[str] = []
    for word in text.split():
        if len(word) > 1 and word[-1] in _PUNCTUATION:
            made += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _PUNCTUATION:
            made += [word[0], word[1:]]
        else:
            made.append(word)
    return made
