"""Words that are wrong in a transcription."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.texts import one_reference


@dataclass(frozen=True, kw_only=True)
class WordErrorRate(Metric, name="wer"):
    """(substituted + deleted + inserted words) / words of the references, over all rows, 0 or more, by jiwer.

    Texts are compared as they are: capitals and punctuation count.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("texts",)
    greater_is_better: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("jiwer",)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Wer."""
        import jiwer

        truth = one_reference(self.name, references)
        if not any(text.strip() for text in truth):
            raise CompressionError(f"{self.name} is not defined where no reference has a word; evaluate rows with a text")
        return {"wer": float(jiwer.wer(truth, list(predictions)))}
