"""The share of right answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import share
from hf_compress.tasks.metrics.tags import check_lengths

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, kw_only=True)
class Accuracy(Metric, name="accuracy"):
    """Right predictions / all predictions, in [0, 1], by scikit-learn.

    A set of labels is right as a whole; of tags it is the share of right tokens.
    """

    takes: ClassVar[tuple[Predictions, ...]] = ("classes", "tags", "label_sets")
    greater_is_better: ClassVar[bool] = True

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Right predictions, predictions."""
        import numpy

        if isinstance(references[0], list | tuple) and all(isinstance(tag, str) for row in references for tag in row):
            check_lengths(self.name, predictions, references)
            right = [
                sum(found == tag for found, tag in zip(one, other, strict=True))
                for one, other in zip(predictions, references, strict=True)
            ]
            return numpy.array([right, [len(row) for row in references]], dtype=numpy.float64).T
        equal = numpy.asarray(predictions) == numpy.asarray(references)
        right = equal.reshape(len(equal), -1).all(-1)
        return numpy.stack([right, numpy.ones(len(right))], axis=-1)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """Right predictions / predictions."""
        return {"accuracy": share(sums[:, 0], sums[:, 1])}

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Accuracy."""
        import numpy
        from sklearn.metrics import accuracy_score

        if isinstance(references[0], list | tuple) and all(isinstance(tag, str) for row in references for tag in row):
            check_lengths(self.name, predictions, references)
            references, predictions = ([tag for row in rows for tag in row] for rows in (references, predictions))
        return {"accuracy": float(accuracy_score(numpy.asarray(references), numpy.asarray(predictions)))}
