"""Characters that are wrong in a transcription."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import share
from hf_compress.tasks.metrics.texts import errors, spoken

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class CharacterErrorRate(Metric, name="cer"):
    """(substituted + deleted + inserted characters) / characters of the references, over all rows, 0 or more, by jiwer.

    Texts are compared as they are: capitals and punctuation count.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("texts",)
    greater_is_better: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ("jiwer",)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Cer."""
        import jiwer

        return {"cer": float(jiwer.cer(spoken(self.name, references, "character"), list(predictions)))}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Wrong characters, characters of the reference."""
        import jiwer

        return errors(jiwer.process_characters(spoken(self.name, references, "character"), list(predictions)))

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """Their quotient."""
        return {"cer": share(sums[:, 0], sums[:, 1])}

    def row_scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Wrong characters, because a reference may be empty."""
        return self.statistics(predictions, references)[:, 0]
