"""Measuring finished models: from folders or the Hub to a report."""

import dataclasses
import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress._registry import dump
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.evaluation.agreement import SideBySide, side_by_side
from hf_compress.evaluation.cost.measure import measure_cost
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.evaluation_table import to_markdown
from hf_compress.evaluation.finished import Finished, load_finished
from hf_compress.evaluation.harness import Benchmarked, benchmark
from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.evaluation.sliding_window import Slid, slide
from hf_compress.evaluation.uncertainty import (
    Uncertainty,
    confirmed,
    of_benchmarks,
    of_documents,
    of_likelihoods,
    of_predictions,
    together,
    uncertainties,
)
from hf_compress.evaluation.verdict import judge
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.tasks.metrics.directions import direction_of

logger = logging.getLogger(__name__)


def evaluate_model(evaluation: ModelEvaluation, out: str | Path | None = None) -> EvaluationReport:
    """Measure a finished model, and a baseline on the same rows.

    Args:
        evaluation: the model, and what it is measured on.
        out: a new folder that gets report.json and report.md; None writes nothing.

    Raises:
        RecipeError: with everything that was refused.
    """
    return run_evaluation(evaluation, evaluation.open(), None if out is None else Path(out))


def run_evaluation(evaluation: ModelEvaluation, opened: dict[str, Any], out: Path | None) -> EvaluationReport:
    """The same of what is opened already.

    Args:
        evaluation: see there.
        opened: by its openers.
        out: see there.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    names = public_names(dump(evaluation, full=True))
    models = [
        Finished(
            name=in_public(source, names),
            source=source,
            opened=opened[key],
            model=load_finished(opened[key], source, field).to(device),  # type: ignore[arg-type]
        )
        for key, field, source in (("baseline", "against", evaluation.against), ("measured", "model", evaluation.model))
        if source is not None
    ]
    report = _measure(evaluation, models, names)
    if evaluation.cost is not None:
        models.clear()
        found = measure_cost(evaluation.model, evaluation.against, evaluation.task, evaluation.cost)
        report = dataclasses.replace(report, cost=in_public(found.to_plain(), names))
    if out is not None:
        with written_beside(out) as part:
            write_evaluation(report, part)
    return report


def write_evaluation(report: EvaluationReport, folder: Path) -> None:
    """report.json and report.md into `folder`."""
    verdict = judge(report)
    data = {**report.to_plain(), "verdict": {"kind": verdict.kind, "reason": verdict.reason}}
    (folder / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report), encoding="utf-8")


def _measure(evaluation: ModelEvaluation, models: list[Finished], names: dict[str, str]) -> EvaluationReport:
    task, kept = models[0].opened.task, [Kept() for _ in models]
    found: list[dict[str, float]] = [{} for _ in models]
    if task.predicts is not None:
        found = [_evaluated(evaluation, one, rows) for one, rows in zip(models, kept, strict=True)]
    notes: list[str] = []
    seen = _seen(evaluation, models, notes)
    if seen is not None:
        found = [{**_likelihood(seen, place), **metrics} for place, metrics in enumerate(found)] if not found[0] else found
    slid = _slid(evaluation, models)
    found = [{**metrics, **one.metrics()} for metrics, one in zip(found, slid, strict=True)] if slid else found
    benchmarked = _benchmarked(evaluation, models)
    found = [{**metrics, **one.numbers} for metrics, one in zip(found, benchmarked, strict=True)] if benchmarked else found
    rows = [_row(one, metrics) for one, metrics in zip(models, found, strict=True)]
    keys = list(found[0])
    known = {key: direction_of(key, evaluation.metrics) for key in keys}
    known |= benchmarked[0].directions if benchmarked else {}
    directions = {key: greater for key, greater in known.items() if greater is not None}
    groups = of_predictions(task.all_metrics(evaluation.metrics), kept)
    groups += [] if seen is None else of_likelihoods(seen, keys, task.unit)
    groups += of_documents(slid) + of_benchmarks(benchmarked)
    uncertainty: dict[str, Any] = {}
    single: set[str] = set()
    for group in groups:
        if group.num_rows < 2:
            notes.append(f"One row makes no interval ({group.unit}).")
            single |= {key for key in directions if key in confirmed(group, found)}
            continue
        uncertainty |= uncertainties(group, found, directions, evaluation.bootstrap)
    left = [key for key in directions if key not in uncertainty and key not in single]
    notes += _without(left, found) + _standard_errors(benchmarked, uncertainty)
    return EvaluationReport(
        title=models[-1].name,
        metric=task.metric,
        greater_is_better=task.greater_is_better,
        rows=tuple(_with_intervals(row, place, uncertainty) for place, row in enumerate(rows)),
        setting=in_public(_setting(evaluation, models[-1], rows[-1], directions, slid, benchmarked), names),
        also={key: greater for key, greater in evaluation.directions.items() if key != task.metric},
        thresholds=evaluation.verdict,
        measured=in_public(measured_rows(evaluation.data, models[-1].opened.raw["test"], task.columns()), names),
        directions=directions,
        uncertainty=uncertainty,
        closeness={} if seen is None else together(seen),
        bootstrap=dump(evaluation.bootstrap, full=True),
        notes=tuple(notes),
        recipe=in_public(dump(evaluation), names),
    )


def _evaluated(evaluation: ModelEvaluation, one: Finished, kept: Kept) -> dict[str, float]:
    """The task's metrics, and its rows as it counts them."""
    logger.info("measuring %s", one.name)
    opened, label = one.opened, f"measuring {one.name}"
    examples, rows, metrics = opened.examples["test"], opened.raw["test"], [*evaluation.metrics, kept]
    return opened.task.evaluate(one.model, examples, rows, opened.processor, evaluation.batch_size, label, metrics)


def _seen(evaluation: ModelEvaluation, models: list[Finished], notes: list[str]) -> SideBySide | None:
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


def _slid(evaluation: ModelEvaluation, models: list[Finished]) -> list[Slid]:
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


def _benchmarked(evaluation: ModelEvaluation, models: list[Finished]) -> list[Benchmarked]:
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


def _row(one: Finished, metrics: dict[str, float]) -> Row:
    size = measure_size(resolve_folder(one.source, "model"))
    return Row(name=one.name, metrics=metrics, file_bytes=size["file_bytes"], quantized_ratio=size["quantized_ratio"])


def _with_intervals(row: Row, place: int, uncertainty: Mapping[str, Uncertainty]) -> Row:
    known = {key: one.intervals[place] for key, one in uncertainty.items() if key in row.metrics}
    return dataclasses.replace(row, intervals=known)


def _without(keys: list[str], found: list[dict[str, float]]) -> list[str]:
    """Why numbers have no interval."""
    undefined = [key for key in keys if any(math.isnan(metrics[key]) for metrics in found)]
    summed = [key for key in keys if key not in undefined]
    said = [f"Without an interval: {', '.join(undefined)}, which is NaN for a model."] if undefined else []
    return said + ([f"Without an interval: {', '.join(summed)}, which single rows do not add up to."] if summed else [])


def _standard_errors(benchmarked: list[Benchmarked], uncertainty: Mapping[str, Uncertainty]) -> list[str]:
    """What the harness says of its numbers that are no means of rows."""
    keys = [key for key in (benchmarked[0].stderr if benchmarked else ()) if key not in uncertainty]
    return [
        f"{key}: by the harness the standard error is {' and '.join(f'{one.stderr[key]:.4g}' for one in benchmarked)}."
        for key in keys
    ]


def _setting(
    evaluation: ModelEvaluation,
    one: Finished,
    row: Row,
    directions: dict[str, bool],
    slid: list[Slid],
    benchmarked: list[Benchmarked],
) -> dict[str, Any]:
    task, examples = one.opened.task, one.opened.examples["test"]
    counts = {key.replace("_", " "): f"{value:,.0f}" for key, value in row.metrics.items() if key not in directions}
    where = "all rows" if evaluation.split == "all" else f"the {evaluation.split} split"
    return {
        "task": task.name,
        "data": f"{evaluation.data.path} ({where}: {len(examples):,} {task.unit})",
        **one.opened.facts,
        **counts,
        **({} if evaluation.harness is None else {"harness": benchmarked[-1].describe(evaluation.harness)}),
        **({} if evaluation.window is None else {"window": slid[-1].describe(evaluation.window)}),
        "batch size": evaluation.batch_size,
        "seed": evaluation.seed,
        **describe_machine(one.model.device),
    }
