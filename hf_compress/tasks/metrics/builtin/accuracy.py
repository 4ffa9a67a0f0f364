"""The share of right answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.tags import check_lengths


@dataclass(frozen=True, kw_only=True)
class Accuracy(Metric, name="accuracy"):
    """Right predictions / all predictions, in [0, 1], by scikit-learn.

    A set of labels is right as a whole; of tags it is the share of right tokens.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("classes", "tags", "label_sets")
    greater_is_better: ClassVar[bool] = True

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Accuracy."""
        import numpy
        from sklearn.metrics import accuracy_score

        if isinstance(references[0], list | tuple) and all(isinstance(tag, str) for row in references for tag in row):
            check_lengths(self.name, predictions, references)
            references, predictions = ([tag for row in rows for tag in row] for rows in (references, predictions))
        return {"accuracy": float(accuracy_score(numpy.asarray(references), numpy.asarray(predictions)))}
