"""Summaries, by the words that they share with right ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import exact_means, means, values
from hf_compress.tasks.metrics.texts import lists_of_references

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Rouge(Metric, name="rouge"):
    """F1 of shared words (rouge1), of pairs of words (rouge2) and of the longest common subsequence, by rouge_score.

    rougeL reads a text as a whole, rougeLsum line by line. Means over rows, in [0, 1]; of several references the best
    counts. Words are runs of a-z and 0-9, lower case, so texts in other scripts share nothing: take chrf for them. The
    hub's `rouge` gives the median of drawn means instead, which is another number every time.

    Attributes:
        use_stemmer: compare words without their English endings.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("texts",)
    greater_is_better: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("rouge_score",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Chin-Yew Lin",
        title="ROUGE: A Package for Automatic Evaluation of Summaries",
        year=2004,
        link="https://aclanthology.org/W04-1013",
    )

    use_stemmer: bool = False

    @property
    def gives(self) -> tuple[str, ...]:
        """As rouge_score calls them."""
        return ("rouge1", "rouge2", "rougeL", "rougeLsum")

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """rouge1, rouge2, rougeL, rougeLsum."""
        return exact_means(self._rows(predictions, references), self.gives)

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Rows, and the four numbers of each."""
        return values(self._rows(predictions, references))

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """Means."""
        return means(sums, self.gives)

    def _rows(self, predictions: Sequence[Any], references: Sequence[Any]) -> list[list[float]]:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(list(self.gives), use_stemmer=self.use_stemmer)
        rows = [
            scorer.score_multi(texts, predicted)
            for predicted, texts in zip(predictions, lists_of_references(self.name, references), strict=True)
        ]
        return [[row[key].fmeasure for key in self.gives] for row in rows]
