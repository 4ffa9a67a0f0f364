"""The correlation of predicted and right classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress._registry import Reference
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions


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
