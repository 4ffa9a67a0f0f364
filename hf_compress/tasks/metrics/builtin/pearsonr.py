"""The linear correlation of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.tasks.metrics.correlation import correlate
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class PearsonR(Metric, name="pearsonr"):
    """cov(x, y) / (std(x) std(y)), in [-1, 1], by scipy; 0 where one side is the same number throughout."""

    takes: ClassVar[tuple[Predictions, ...]] = ("numbers",)
    greater_is_better: ClassVar[bool] = True

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Pearsonr."""
        from scipy.stats import pearsonr

        return {self.name: correlate(self.name, pearsonr, predictions, references)}
