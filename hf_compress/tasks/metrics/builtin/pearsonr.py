"""The linear correlation of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress.tasks.metrics.correlation import correlate
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import share

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class PearsonR(Metric, name="pearsonr"):
    """cov(x, y) / (std(x) std(y)), in [-1, 1], by scipy; 0 where one side is the same number throughout."""

    takes: ClassVar[tuple[Predictions, ...]] = ("numbers",)
    greater_is_better: ClassVar[bool] = True

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Pearsonr."""
        from scipy.stats import pearsonr

        return {self.name: correlate(self.name, pearsonr, predictions, references)}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """1, x, y, x^2, y^2, x y, of numbers without their means, which would take away digits."""
        import numpy

        x, y = (numpy.asarray(given, dtype=numpy.float64).reshape(-1) for given in (predictions, references))
        x, y = x - x.mean(), y - y.mean()
        return numpy.stack([numpy.ones_like(x), x, y, x * x, y * y, x * y], axis=1)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """The correlation; 0 where one side is, up to rounding, the same number throughout."""
        import numpy

        rows, x, y, xx, yy, xy = sums.T
        spreads = []
        for total, squares in ((x, xx), (y, yy)):
            spread = squares - total**2 / rows
            spreads.append(numpy.where(spread > 1e-12 * squares, spread, 0.0))
        found = share(xy - x * y / rows, numpy.sqrt(spreads[0] * spreads[1]))
        return {self.name: numpy.clip(found, -1.0, 1.0)}

    def row_scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> None:
        """A row alone has no correlation."""
