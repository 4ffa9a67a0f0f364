"""The harmonic mean of precision and recall, averaged over classes in any of the usual ways."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from hf_compress._errors import CompressionError, reason_of
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions

Average = Literal["binary", "macro", "micro", "weighted", "samples"]


class _AnyF1(Metric):
    """What the forms share."""

    takes: ClassVar[tuple[Predictions, ...]] = ("classes", "label_sets")
    greater_is_better: ClassVar[bool] = True

    def _f1(self, predictions: Sequence[Any], references: Sequence[Any], average: str, pos_label: int = 1) -> float:
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

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """f1."""
        return {"f1": self._f1(predictions, references, self.average, self.pos_label)}


@dataclass(frozen=True, kw_only=True)
class MacroF1(_AnyF1, name="macro_f1"):
    """The mean of the classes' F1 over the classes that occur."""

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """macro_f1."""
        return {"macro_f1": self._f1(predictions, references, "macro")}


@dataclass(frozen=True, kw_only=True)
class MicroF1(_AnyF1, name="micro_f1"):
    """F1 of all decisions together; with one class for every row it is the accuracy."""

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """micro_f1."""
        return {"micro_f1": self._f1(predictions, references, "micro")}


@dataclass(frozen=True, kw_only=True)
class WeightedF1(_AnyF1, name="weighted_f1"):
    """The mean of the classes' F1, weighted by how often each is there."""

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """weighted_f1."""
        return {"weighted_f1": self._f1(predictions, references, "weighted")}
