"""Translations, by the character sequences that they share with right ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.texts import reference_streams


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
