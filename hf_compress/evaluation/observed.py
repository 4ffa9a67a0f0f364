"""What finished models do on the same rows: everything of an evaluation that asks for forward passes."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.evaluation.agreement import SideBySide, side_by_side
from hf_compress.evaluation.answers import answers_of
from hf_compress.evaluation.finished import Finished
from hf_compress.evaluation.harness import Benchmarked, benchmark
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.evaluation.sliding_window import Slid, slide
from hf_compress.evaluation.uncertainty import Group, of_benchmarks, of_documents, of_likelihoods, of_predictions
from hf_compress.tasks.metrics.directions import direction_of
from hf_compress.tasks.shown import Shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What was seen, of each model in the order of the report's rows.

    Attributes:
        metrics: what each reached.
        kept: what the task compared, row by row; empty for a task without predictions.
        seen: their logits side by side; None where they say nothing.
        slid: whole documents; empty without a window.
        benchmarked: benchmarks; empty without a harness.
        shown: the first rows, with what each answers.
        notes: what could not be seen, a sentence each.
    """

    metrics: Sequence[dict[str, float]]
    kept: Sequence[Kept]
    seen: SideBySide | None
    slid: Sequence[Slid]
    benchmarked: Sequence[Benchmarked]
    shown: Sequence[Sequence[Shown]]
    notes: tuple[str, ...]

    def directions(self, evaluation: ModelEvaluation) -> dict[str, bool]:
        """What was measured -> whether more of it is better; counts are neither."""
        known = {key: direction_of(key, evaluation.metrics) for key in self.metrics[0]}
        known |= self.benchmarked[0].directions if self.benchmarked else {}
        return {key: greater for key, greater in known.items() if greater is not None}

    def groups(self, evaluation: ModelEvaluation) -> list[Group]:
        """The numbers by the rows that they are of."""
        task, keys = evaluation.task, list(self.metrics[0])
        found = of_predictions(task.all_metrics(evaluation.metrics), self.kept)
        found += [] if self.seen is None else of_likelihoods(self.seen, keys, task.unit)
        return found + of_documents(self.slid) + of_benchmarks(self.benchmarked)


def observe(evaluation: ModelEvaluation, models: Sequence[Finished]) -> Observed:
    """Run the models: by their task, side by side, over whole documents, on benchmarks, and on a few rows to show.

    Args:
        evaluation: what is measured.
        models: loaded, a baseline first.

    Raises:
        CompressionError: the models have nothing to be compared by.
    """
    kept = [Kept() for _ in models]
    found: list[dict[str, float]] = [{} for _ in models]
    if evaluation.task.predicts is not None:
        found = [_evaluated(evaluation, one, rows) for one, rows in zip(models, kept, strict=True)]
    notes: list[str] = []
    seen = _seen(evaluation, models, notes)
    if seen is not None and not found[0]:
        found = [_likelihood(seen, place) for place in range(len(models))]
    slid, benchmarked = _slid(evaluation, models), _benchmarked(evaluation, models)
    for metrics, one in zip(found, slid, strict=False):
        metrics |= one.metrics()
    for metrics, reached in zip(found, benchmarked, strict=False):
        metrics |= reached.numbers
    shown = [answers_of(one.opened, one.model, rows, evaluation.examples) for one, rows in zip(models, kept, strict=True)]
    return Observed(
        metrics=found, kept=kept, seen=seen, slid=slid, benchmarked=benchmarked, shown=shown, notes=tuple(notes)
    )


def _evaluated(evaluation: ModelEvaluation, one: Finished, kept: Kept) -> dict[str, float]:
    """The task's metrics, and its rows as it counts them."""
    logger.info("measuring %s", one.name)
    opened, label = one.opened, f"measuring {one.name}"
    examples, rows, metrics = opened.examples["test"], opened.raw["test"], [*evaluation.metrics, kept]
    return opened.task.evaluate(one.model, examples, rows, opened.processor, evaluation.batch_size, label, metrics)


def _seen(evaluation: ModelEvaluation, models: Sequence[Finished], notes: list[str]) -> SideBySide | None:
    """What the logits say, of the baseline beside the model; None where they say nothing, which a note tells."""
    batches: list[Iterable[Any]] = [
        one.opened.task.batches(one.opened.examples["test"], one.opened.processor, evaluation.batch_size) for one in models
    ]
    try:
        return side_by_side([one.model for one in models], zip(*batches, strict=True), "comparing likelihoods")
    except CompressionError as error:
        if models[0].opened.task.predicts is None:
            raise
        notes.append(f"Logits were not compared: {error}.")
        return None


def _slid(evaluation: ModelEvaluation, models: Sequence[Finished]) -> list[Slid]:
    """Whole documents, of each model; empty without a window."""
    if evaluation.window is None:
        return []
    return [
        slide(
            one.model,
            one.opened.processor,
            one.opened.task.documents(one.opened.raw["test"]) or (),
            evaluation.window,
            evaluation.batch_size,
            f"sliding over documents with {one.name}",
        )
        for one in models
    ]


def _benchmarked(evaluation: ModelEvaluation, models: Sequence[Finished]) -> list[Benchmarked]:
    """Benchmarks, of each model; empty without a harness."""
    harness, drawn = evaluation.harness, evaluation.bootstrap
    if harness is None:
        return []
    return [
        benchmark(one.model, one.opened.processor, harness, evaluation.batch_size, drawn.resamples, evaluation.seed)
        for one in models
    ]


def _likelihood(seen: SideBySide, place: int) -> dict[str, float]:
    """What a task without predictions is measured by."""
    (numbers,) = [seen.likelihoods(("perplexity", "nll"))[place]]
    sums = numbers.statistics.sum(0, keepdims=True)
    found = {key: float(value[0]) for key, value in numbers.of_sums(sums).items()}
    return {"perplexity": found["perplexity"], "nll": found["nll"], "num_tokens": int(seen.items.sum())}
