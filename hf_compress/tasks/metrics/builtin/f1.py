"""The harmonic mean of precision and recall, averaged over classes in any of the usual ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hf_compress._errors import CompressionError, reason_of
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.metrics.sums import means, share, values

if TYPE_CHECKING:
    from numpy import ndarray

Average = Literal["binary", "macro", "micro", "weighted", "samples"]


class _AnyF1(Metric):
    """What the forms share."""

    takes: ClassVar[tuple[Predictions, ...]] = ("classes", "label_sets")
    greater_is_better: ClassVar[bool] = True

    @property
    def _options(self) -> tuple[Average, int]:
        """The average, and the class that `binary` is about."""
        raise TypeError(f"{type(self).__name__} defines no _options")

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Under its name."""
        return {self.name: self._f1(predictions, references, *self._options)}

    def statistics(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Of every class: right, predicted, there; whether all classes count, or those that occur. Of `samples`: the F1."""
        import numpy

        average, pos_label = self._options
        found, truth = numpy.asarray(predictions), numpy.asarray(references)
        if average == "samples":
            return values(share(2 * (found & truth).sum(1), found.sum(1) + truth.sum(1))[:, None])
        sets = truth.ndim == 2
        if not sets:
            classes = numpy.array([pos_label]) if average == "binary" else numpy.union1d(found, truth)
            found, truth = found[:, None] == classes, truth[:, None] == classes
        found, truth = found.astype(bool), truth.astype(bool)
        every = numpy.full((len(found), 1), sets)
        return numpy.concatenate([found & truth, found, truth, every], axis=1, dtype=numpy.float64)

    def of_sums(self, sums: "ndarray") -> "dict[str, ndarray]":
        """2 right / (predicted + there), averaged."""
        average, _ = self._options
        if average == "samples":
            return means(sums, self.gives)
        every = sums[:, -1:] > 0
        right, found, there = (part.reshape(len(sums), -1) for part in _thirds(sums[:, :-1]))
        each = share(2 * right, found + there)
        if average == "micro":
            return {self.name: share(2 * right.sum(1), found.sum(1) + there.sum(1))}
        if average == "weighted":
            return {self.name: share((each * there).sum(1), there.sum(1))}
        counted = every | (found + there > 0)
        return {self.name: share(each.sum(1), counted.sum(1))}

    def row_scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> "ndarray":
        """Right or wrong; of sets the share of right labels: F1 does not see what is rightly not predicted."""
        import numpy

        equal = numpy.asarray(predictions) == numpy.asarray(references)
        return equal.reshape(len(equal), -1).mean(-1)

    def _f1(self, predictions: Sequence[Any], references: Sequence[Any], average: str, pos_label: int) -> float:
        import numpy
        from sklearn.metrics import f1_score

        truth, found = numpy.asarray(references), numpy.asarray(predictions)
        try:
            return float(f1_score(truth, found, average=average, pos_label=pos_label, zero_division=0.0))
        except ValueError as error:  # predictions that the average is not about
            raise CompressionError(f"{self.name} with average: {average}: {reason_of(error)}") from error


@dataclass(frozen=True, kw_only=True)
class F1(_AnyF1, name="f1"):
    """2 P R / (P + R), with P = right / predicted and R = right / there, by scikit-learn; 0 where both are 0.

    Attributes:
        average: `binary`, of one class out of two; `macro`, the mean over classes; `micro`, of all decisions together;
            `weighted`, the mean weighted by how often a class is there; `samples`, the mean over rows with sets of labels.
        pos_label: the id of the class that `binary` is about.
    """

    average: Average = "binary"
    pos_label: int = 1

    def check(self, kind: Predictions, labels: Sequence[str]) -> None:
        """Refuse averages of other predictions."""
        super().check(kind, labels)
        if self.average == "binary" and (kind != "classes" or len(labels) not in (0, 2)):
            raise CompressionError(
                f"f1 with average: binary is about one class out of two, and there are {len(labels)} labels; name macro_f1,"
                " micro_f1 or weighted_f1"
            )
        if self.average == "binary" and self.pos_label not in (0, 1):
            raise CompressionError(f"pos_label={self.pos_label} is not the id of one of two classes; write 0 or 1")
        if self.average == "samples" and kind != "label_sets":
            raise CompressionError("f1 with average: samples is about rows with sets of labels; name macro_f1")

    @property
    def _options(self) -> tuple[Average, int]:
        return self.average, self.pos_label


@dataclass(frozen=True, kw_only=True)
class MacroF1(_AnyF1, name="macro_f1"):
    """The mean of the classes' F1 over the classes that occur."""

    @property
    def _options(self) -> tuple[Average, int]:
        return "macro", 1


@dataclass(frozen=True, kw_only=True)
class MicroF1(_AnyF1, name="micro_f1"):
    """F1 of all decisions together; with one class for every row it is the accuracy."""

    @property
    def _options(self) -> tuple[Average, int]:
        return "micro", 1


@dataclass(frozen=True, kw_only=True)
class WeightedF1(_AnyF1, name="weighted_f1"):
    """The mean of the classes' F1, weighted by how often each is there."""

    @property
    def _options(self) -> tuple[Average, int]:
        return "weighted", 1


def _thirds(columns: "ndarray") -> "list[ndarray]":
    import numpy

    return numpy.split(columns, 3, axis=1)
