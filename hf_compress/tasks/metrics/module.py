"""A metric as an `evaluate.Metric`."""

import dataclasses
import inspect
from typing import Any, ClassVar

import evaluate


class OwnModule(evaluate.Metric):
    """Runs a metric of this package; `as_module` makes the class of each, whose name becomes the module's.

    Attributes:
        metric: computes.
        forms: of predictions and references, one of which the given ones must have.
    """

    metric: ClassVar[Any]
    forms: ClassVar[list[Any]]

    def _info(self) -> Any:
        reference = self.metric.reference
        return evaluate.MetricInfo(
            description=inspect.getdoc(type(self.metric)) or "",
            citation="" if reference is None else str(reference),
            inputs_description="",
            features=self.forms,
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """As in `evaluate`, and without rows refused in a sentence.

        Raises:
            CompressionError: there is no row, or there are not equally many.
        """
        if predictions is not None and references is not None:
            self.metric.check_rows(predictions, references)
        super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, float]:
        """The metric, with options changed for this once, as the modules of `evaluate` take them."""
        return dataclasses.replace(self.metric, **options).compute(predictions, references)


def as_module(metric: Any, forms: list[Any], **options: Any) -> OwnModule:
    """An `evaluate.Metric` under the metric's name.

    Args:
        metric: computes.
        forms: `datasets.Features` of predictions and references, in any of which they may come.
        **options: of the module's constructor.
    """
    module: type[OwnModule] = type(metric.name, (OwnModule,), {"metric": metric, "forms": forms})
    return module(**{"keep_in_memory": True, **options})
