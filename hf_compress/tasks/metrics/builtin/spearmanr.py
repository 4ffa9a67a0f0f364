"""The correlation of ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.tasks.metrics.correlation import correlate
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class SpearmanR(Metric, name="spearmanr"):
    """Pearson's correlation of the ranks, ties at their mean rank, in [-1, 1], by scipy; 0 where one side is constant."""

    takes: ClassVar[tuple[Predictions, ...]] = ("numbers",)
    greater_is_better: ClassVar[bool] = True
    quick: ClassVar[bool] = True

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Spearmanr."""
        from scipy.stats import spearmanr

        return {self.name: correlate(self.name, spearmanr, predictions, references)}
