"""The correlation of predicted and right classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import share

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class MatthewsCorrelation(Metric, name="matthews_correlation"):
    """In [-1, 1], by scikit-learn; 0 where one class is predicted everywhere.

    Of two classes (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN)); of more, the generalization of Gorodkin.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("classes",)
    greater_is_better: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Jan Gorodkin",
        title="Comparing two K-category assignments by a K-category correlation coefficient",
        year=2004,
        link="https://doi.org/10.1016/j.compbiolchem.2004.09.006",
    )

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """matthews_correlation."""
        from sklearn.metrics import matthews_corrcoef

        return {self.name: float(matthews_corrcoef(references, predictions))}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """A 1 for the row, one if it is right, and one for the predicted and one for the right class among all."""
        import numpy

        found, truth = numpy.asarray(predictions), numpy.asarray(references)
        classes = numpy.union1d(found, truth)
        marks = [values[:, None] == classes for values in (found, truth)]
        rows = [numpy.ones((len(found), 1)), (found == truth)[:, None], *marks]
        return numpy.concatenate(rows, axis=1, dtype=numpy.float64)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """(n right - sum_k p_k t_k) / sqrt((n^2 - sum_k p_k^2) (n^2 - sum_k t_k^2)) with class k predicted p_k times."""
        import numpy

        rows, right = sums[:, 0], sums[:, 1]
        found, truth = numpy.split(sums[:, 2:], 2, axis=1)
        spread = (rows**2 - (found**2).sum(1)) * (rows**2 - (truth**2).sum(1))
        return {self.name: share(rows * right - (found * truth).sum(1), numpy.sqrt(spread))}

    def row_scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Right or wrong: a row alone has no correlation."""
        return self.statistics(predictions, references)[:, 1]
