"""Predictions of an evaluation, batch by batch, and its metrics at the end: in the Trainer and for reports."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
from torch import Tensor

from hf_compress.tasks.metrics.metric import Metric

Decode = Callable[[Any, Any], tuple[Iterable[Any], Iterable[Any]]]
"""A model's logits (B, ...) and labels (B, ...) as numpy arrays -> predictions and references of the rows that count."""


class Counted:
    """Metrics over all rows of an evaluation; `Trainer(compute_metrics=Counted(...))`.

    Takes what the Trainer passes under any of its arguments: all rows as one array, a list of batches
    (`eval_do_concat_batches=False`), or batch after batch (`batch_eval_metrics=True`). The Trainer has then gathered the
    rows of all processes and left out those that pad the last batch, so the metrics are those of one process.

    Args:
        metrics: each is asked once, about all rows.
        decode: makes their predictions and references.
    """

    def __init__(self, metrics: Sequence[Metric], decode: Decode) -> None:
        self.metrics, self.decode = metrics, decode
        self.predictions: list[Any] = []
        self.references: list[Any] = []

    def beside(self, metric: Metric) -> "Counted":
        """The same, which also asks another metric."""
        return Counted([*self.metrics, metric], self.decode)

    def __call__(self, prediction: Any, compute_result: bool = True) -> dict[str, float]:
        """What the Trainer calls.

        Args:
            prediction: an EvalPrediction. Of several outputs, the first are the logits.
            compute_result: False for a batch behind which more come; they are kept.

        Returns:
            The metrics over this and all kept batches; {} where more come.
        """
        if isinstance(prediction.label_ids, list):
            for logits, labels in zip(prediction.predictions, prediction.label_ids, strict=True):
                self.add(logits, labels)
        else:
            self.add(prediction.predictions, prediction.label_ids)
        return self.result() if compute_result else {}

    def add(self, logits: Any, labels: Any) -> None:
        """Count a batch.

        Args:
            logits: (B, ...), an array or a tensor; of a tuple the first.
            labels: (B, ...), an array or a tensor, or a tuple of them for a model with several.
        """
        predictions, references = self.decode(as_array(first(logits)), as_array(labels))
        self.predictions.extend(predictions)
        self.references.extend(references)

    def result(self) -> dict[str, float]:
        """The metrics of all rows so far, which are forgotten.

        Raises:
            CompressionError: see `Metric.compute`.
        """
        predictions, references = self.predictions, self.references
        self.predictions, self.references = [], []
        found: dict[str, float] = {}
        for metric in self.metrics:
            found |= metric.compute(predictions, references)
        return found


def first(outputs: Any) -> Any:
    """The logits of a model that gives more."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def as_array(values: Any) -> Any:
    """Tensors as numpy, which has no bfloat16, also in a tuple; anything else as it is."""
    if isinstance(values, tuple):
        return tuple(map(as_array, values))
    if not isinstance(values, Tensor):
        return values
    values = values.detach().cpu()
    return numpy.asarray(values.float() if values.is_floating_point() else values)
