"""Translations, by the word sequences that they share with right ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.texts import lists_of_references, reference_streams

if TYPE_CHECKING:
    from numpy import ndarray

_ORDER = 4


@dataclass(frozen=True, kw_only=True)
class Bleu(Metric, name="bleu"):
    """BP exp(mean over n = 1..4 of log p_n), of the whole corpus, in [0, 100], by sacrebleu.

    p_n is the share of predicted n-grams that a reference of their row has too, BP = min(1, exp(1 - reference length /
    predicted length)). Rows have one reference or more. The `bleu` of the evaluate hub is this / 100 without smoothing.

    Attributes:
        tokenize: sacrebleu's way of splitting texts into words; `zh` and `char` for languages without spaces.
        lowercase: compare lower-case texts.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("texts",)
    greater_is_better: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("sacrebleu",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Matt Post",
        title="A Call for Clarity in Reporting BLEU Scores",
        year=2018,
        link="https://aclanthology.org/W18-6319",
    )

    tokenize: Literal["13a", "intl", "zh", "char", "none"] = "13a"
    lowercase: bool = False

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Bleu."""
        from sacrebleu.metrics.bleu import BLEU

        # `force` leaves out a warning about texts that look tokenized.
        metric = BLEU(tokenize=self.tokenize, lowercase=self.lowercase, force=True)
        return {"bleu": float(metric.corpus_score(list(predictions), reference_streams(self.name, references)).score)}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Right n-grams and n-grams for n = 1..4, predicted length, reference length."""
        import numpy
        from sacrebleu.metrics.bleu import BLEU

        # The effective order changes a sentence's own score, which is not asked for, and leaves out a warning.
        metric = BLEU(tokenize=self.tokenize, lowercase=self.lowercase, force=True, effective_order=True)
        scores = [
            metric.sentence_score(predicted, texts)
            for predicted, texts in zip(predictions, lists_of_references(self.name, references), strict=True)
        ]
        rows = [[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in scores]
        return numpy.array(rows, dtype=numpy.float64)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """By sacrebleu's formula."""
        import numpy
        from sacrebleu.metrics.bleu import BLEU

        scores = [
            BLEU.compute_bleu(row[:_ORDER], row[_ORDER : 2 * _ORDER], *row[2 * _ORDER :]).score
            for row in sums.round().astype(int).tolist()
        ]
        return {"bleu": numpy.array(scores, dtype=numpy.float64)}
