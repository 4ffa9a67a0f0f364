"""Answers out of a text, as SQuAD compares them."""

import collections
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import exact_means, means, values

if TYPE_CHECKING:
    from numpy import ndarray

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True)
class Squad(Metric, name="squad"):
    """Exact match, and the F1 of words, of the best of a question's right answers; means over questions, in [0, 100].

    Both compare lower-case words without articles and ASCII punctuation. A question without an answer (an empty list of
    texts) is right if nothing is predicted, as in SQuAD 2. Predictions and references meet by their `id`.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("spans",)
    greater_is_better: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Rajpurkar et al.",
        title="SQuAD: 100,000+ Questions for Machine Comprehension of Text",
        year=2016,
        link="https://arxiv.org/abs/1606.05250",
        equation="section 6.1",
    )

    @property
    def gives(self) -> tuple[str, ...]:
        """F1 is the one to compare by."""
        return ("f1", "exact_match")

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """f1 and exact_match."""
        return exact_means(self._rows(predictions, references), self.gives)

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Questions, and the two numbers of each."""
        return values(self._rows(predictions, references))

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """Means."""
        return means(sums, self.gives)

    def _rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[list[float]]:
        """F1 and exact match of every question, in [0, 100]."""
        predicted = {row["id"]: row["prediction_text"] for row in predictions}
        unanswered = [row["id"] for row in references if row["id"] not in predicted]
        if unanswered:
            raise CompressionError(
                f'{self.name}: question {unanswered[0]!r} has no prediction; predict "" where there is none'
            )
        return [
            [_best(compare, predicted[row["id"]], row["answers"]["text"]) for compare in (_word_f1, _exact_match)]
            for row in references
        ]


def _best(compare: Callable[[str, str], float], found: str, answers: Sequence[str]) -> float:
    if len(answers) == 0:
        return 100 * float(not _words(found))
    return 100 * max(compare(found, answer) for answer in answers)


def _words(text: str) -> list[str]:
    """Words as SQuAD's evaluation script normalizes them: lower case, punctuation, articles, white space, in this order."""
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_WITHOUT_PUNCTUATION)).split()


def _exact_match(found: str, answer: str) -> float:
    return float(_words(found) == _words(answer))


def _word_f1(found: str, answer: str) -> float:
    one, other = _words(found), _words(answer)
    common = sum((collections.Counter(one) & collections.Counter(other)).values())
    return 2 * common / (len(one) + len(other)) if common else 0.0
