"""The share of right answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Accuracy(Metric, name="accuracy"):
    """Right predictions / all predictions, in [0, 1], by scikit-learn; a set of labels is right as a whole."""

    takes: ClassVar[tuple[Predictions, ...]] = ("classes", "label_sets")
    greater_is_better: ClassVar[bool] = True

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Accuracy."""
        import numpy
        from sklearn.metrics import accuracy_score

        return {"accuracy": float(accuracy_score(numpy.asarray(references), numpy.asarray(predictions)))}
