"""Texts that a model has written, for metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from hf_compress.tasks.metrics.counted import as_array, first
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.row_kind import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

ROW = "row"
"""The column of the examples with the number of the raw row."""


class Written:
    """Metrics of generated texts against raw ones; `Seq2SeqTrainer(compute_metrics=Written(...))`.

    What is right is never cut and never went through the tokenizer, as labels have.

    Args:
        examples: in the order of the predictions, with `ROW`.
        references: of every raw row a text, or several.
        tokenizer: makes texts of token ids.
        metrics: of texts.
    """

    def __init__(self, examples: "Dataset", references: Sequence[Any], tokenizer: Any, metrics: Sequence[Metric]) -> None:
        self._examples, self._references = examples, references
        self._tokenizer, self.metrics = tokenizer, metrics
        self._texts: list[str] = []

    def beside(self, metric: Metric) -> "Written":
        """The same, which also asks another metric."""
        return Written(self._examples, self._references, self._tokenizer, [*self.metrics, metric])

    def __call__(self, prediction: Any, compute_result: bool = True) -> dict[str, float]:
        """What the Trainer calls.

        Args:
            prediction: an EvalPrediction with token ids (B, T), -100 = padding, or a list of such.
            compute_result: False for a batch behind which more come.

        Returns:
            The metrics over this and all kept batches; {} where more come.
        """
        given = prediction.predictions
        for part in given if isinstance(given, list) else [given]:
            ids = as_array(first(part))
            ids = numpy.where(ids == IGNORED, self._tokenizer.pad_token_id, ids)
            self._texts += [text.strip() for text in self._tokenizer.batch_decode(ids, skip_special_tokens=True)]
        if not compute_result:
            return {}
        texts, self._texts = self._texts, []
        right = [self._references[row] for row in self._examples.with_format(None)[ROW]]
        result: dict[str, float] = {}
        for metric in self.metrics:
            result |= metric.compute(texts, right)
        return result
