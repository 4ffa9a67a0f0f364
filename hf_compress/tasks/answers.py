"""Answers out of the windows of a text, for metrics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

from hf_compress.tasks.metrics.counted import as_array
from hf_compress.tasks.metrics.metric import Metric

if TYPE_CHECKING:
    from datasets import Dataset


class BestSpans:
    """Metrics of the best span of every row over its windows; `Trainer(compute_metrics=BestSpans(...))`.

    Args:
        examples: windows in the order of the predictions, with `row`, `offsets` (where each token stands in its context,
            [-1, -1] for tokens of the question and special ones) and `nowhere` (the token that stands for no answer).
        rows: raw rows.
        context: their column with texts.
        answers: their column with what is right.
        longest: tokens of a span at most.
        unanswerable: "" is the answer where the token for no answer beats the best span in every window.
        metrics: of spans.
    """

    def __init__(
        self,
        examples: "Dataset",
        rows: "Dataset",
        *,
        context: str,
        answers: str,
        longest: int,
        unanswerable: bool,
        metrics: Sequence[Metric],
    ) -> None:
        self._examples, self._rows = examples, rows
        self._context, self._answers = context, answers
        self._longest, self._unanswerable, self.metrics = longest, unanswerable, metrics
        self._logits: list[Any] = []

    def beside(self, metric: Metric) -> "BestSpans":
        """The same, which also asks another metric."""
        return BestSpans(
            self._examples,
            self._rows,
            context=self._context,
            answers=self._answers,
            longest=self._longest,
            unanswerable=self._unanswerable,
            metrics=[*self.metrics, metric],
        )

    def __call__(self, prediction: Any, compute_result: bool = True) -> dict[str, float]:
        """What the Trainer calls.

        Args:
            prediction: an EvalPrediction with logits (B, T, 2), or a list of such.
            compute_result: False for a batch behind which more come.

        Returns:
            The metrics over this and all kept batches; {} where more come.
        """
        given = prediction.predictions
        for part in given if isinstance(given, list) else [given]:
            self._logits.extend(as_array(part))
        if not compute_result:
            return {}
        logits, self._logits = self._logits, []
        found = self.answers(logits)
        predictions = [{"id": str(row), "prediction_text": text} for row, text in found.items()]
        right = self._rows.select(list(found))[self._answers][:]
        references = [{"id": str(row), "answers": answers} for row, answers in zip(found, right, strict=True)]
        result: dict[str, float] = {}
        for metric in self.metrics:
            result |= metric.compute(predictions, references)
        return result

    def answers(self, logits: Sequence[numpy.ndarray]) -> dict[int, str]:
        """The best span of every row that has a window, in the order of the rows' numbers."""
        best: dict[int, tuple[float, int, int]] = {}
        nothing: dict[int, float] = {}
        for window, of_window in zip(self._examples.select_columns(["row", "offsets", "nowhere"]), logits, strict=True):
            row, offsets = window["row"], numpy.asarray(window["offsets"]).reshape(-1, 2)
            score, first, last = best_span(of_window[: len(offsets)], offsets[:, 0] >= 0, self._longest)
            if row not in best or score > best[row][0]:
                best[row] = (score, int(offsets[first, 0]), int(offsets[last, 1]))
            nothing[row] = min(nothing.get(row, numpy.inf), float(of_window[window["nowhere"]].sum()))
        contexts = dict(zip(sorted(best), self._rows.select(sorted(best))[self._context][:], strict=True))
        return {
            row: "" if self._unanswerable and nothing[row] > best[row][0] else text[best[row][1] : best[row][2]].strip()
            for row, text in contexts.items()
        }


def best_span(logits: numpy.ndarray, allowed: numpy.ndarray, longest: int) -> tuple[float, int, int]:
    """(start + end logit, first token, last token) of the best span; of equal ones the shortest, then the first.

    Args:
        logits: (T, 2), of the beginning and of the end.
        allowed: (T,) bool, False = the question and special tokens.
        longest: tokens of a span at most.

    Returns:
        (-inf, 0, 0) where nothing is allowed.
    """
    starts, ends = numpy.where(allowed[:, None], logits.astype(numpy.float64), -numpy.inf).T
    best = (-numpy.inf, 0, 0)
    for more in range(min(longest, len(starts))):
        scores = starts[: len(starts) - more] + ends[more:]
        place = int(scores.argmax())
        if scores[place] > best[0]:
            best = (float(scores[place]), place, place + more)
    return best
