"""Measuring finished models: from folders or the Hub to a report."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress import _distributed
from hf_compress._folders import written_beside
from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress._registry import dump
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.evaluation.cost.measure import measure_cost
from hf_compress.evaluation.cost.parameters import count_parameters
from hf_compress.evaluation.cost.report import CostReport
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.finished import Finished, load_finished
from hf_compress.evaluation.harness import Benchmarked
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.evaluation.observed import Observed, observe
from hf_compress.evaluation.rows import Example, Row
from hf_compress.evaluation.size import measure_size
from hf_compress.evaluation.uncertainty import Group, Uncertainty, confirmed, corrected, together, uncertainties
from hf_compress.evaluation.write import write_evaluation
from hf_compress.inputs.measured_rows import measured_rows


def evaluate_model(evaluation: ModelEvaluation, out: str | Path | None = None) -> EvaluationReport:
    """Measure a finished model, and a baseline on the same rows.

    Args:
        evaluation: the model, and what it is measured on.
        out: a new folder that gets report.json, report.md, report.png and report.html; None writes nothing.

    Raises:
        CompressionError: a process group is alive: this is the work of one process.
        RecipeError: with everything that was refused.
    """
    _distributed.refuse_group("evaluate_model")
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
    report = _report(evaluation, models, observe(evaluation, models), names)
    if evaluation.cost is not None:
        models.clear()
        found = measure_cost(evaluation.model, evaluation.against, evaluation.task, evaluation.cost)
        report = dataclasses.replace(report, cost=in_public(found.to_plain(), names), rows=_timed(report.rows, found))
    if out is not None:
        with written_beside(out) as part:
            write_evaluation(report, part)
    return report


def _report(
    evaluation: ModelEvaluation, models: Sequence[Finished], observed: Observed, names: dict[str, str]
) -> EvaluationReport:
    task, model = evaluation.task, models[-1]
    directions, groups = observed.directions(evaluation), observed.groups(evaluation)
    uncertainty, without = _uncertainty(evaluation, observed, directions, groups)
    rows = [_row(one, metrics) for one, metrics in zip(models, observed.metrics, strict=True)]
    setting = _setting(evaluation, model, rows[-1], directions, observed)
    return EvaluationReport(
        title=model.name,
        metric=task.metric,
        greater_is_better=task.greater_is_better,
        rows=tuple(_completed(row, place, uncertainty, observed) for place, row in enumerate(rows)),
        setting=in_public(setting, names),
        also={key: greater for key, greater in evaluation.directions.items() if key != task.metric},
        thresholds=evaluation.verdict,
        measured=in_public(measured_rows(evaluation.data, model.opened.raw["test"], task.columns()), names),
        layers=measure_layers(resolve_folder(model.source, "model"), count_parameters(model.model)["sparsity"]),
        examples=tuple(Example(input=one.input, expected=one.expected) for one in observed.shown[-1]),
        directions=directions,
        uncertainty=uncertainty,
        closeness={} if observed.seen is None else together(observed.seen),
        bootstrap=dump(evaluation.bootstrap, full=True),
        notes=(*observed.notes, *without),
        recipe=in_public(dump(evaluation), names),
    )


def _uncertainty(
    evaluation: ModelEvaluation, observed: Observed, directions: dict[str, bool], groups: list[Group]
) -> tuple[dict[str, Uncertainty], list[str]]:
    """What is known of each number, and sentences about those of which nothing is."""
    found: dict[str, Uncertainty] = {}
    single: set[str] = set()
    notes = []
    for group in groups:
        if group.num_rows > 1:
            found |= uncertainties(group, observed.metrics, directions, evaluation.bootstrap)
        else:
            notes.append(f"One row makes no interval ({group.unit}).")
            single |= {key for key in directions if key in confirmed(group, observed.metrics)}
    left = [key for key in directions if key not in found and key not in single]
    notes += [*_without(left, observed.metrics), *_standard_errors(observed.benchmarked, found)]
    return corrected(found, groups), notes


def _row(one: Finished, metrics: dict[str, float]) -> Row:
    size = measure_size(resolve_folder(one.source, "model"))
    return Row(name=one.name, metrics=metrics, file_bytes=size["file_bytes"], quantized_ratio=size["quantized_ratio"])


def _completed(row: Row, place: int, uncertainty: Mapping[str, Uncertainty], observed: Observed) -> Row:
    """With its intervals, and its answers to what is shown."""
    known = {key: one.intervals[place] for key, one in uncertainty.items() if key in row.metrics}
    return dataclasses.replace(row, intervals=known, answers=tuple(one.answer for one in observed.shown[place]))


def _timed(rows: Sequence[Row], found: CostReport) -> tuple[Row, ...]:
    """With the time of a forward pass, where one was measured; the models stand in the same order."""
    latencies = found.latencies()
    return tuple(
        dataclasses.replace(row, latency_ms=latencies.get(model.name))
        for row, model in zip(rows, found.models, strict=True)
    )


def _without(keys: list[str], found: Sequence[dict[str, float]]) -> list[str]:
    """Why numbers have no interval."""
    undefined = [key for key in keys if any(math.isnan(metrics[key]) for metrics in found)]
    summed = [key for key in keys if key not in undefined]
    said = [f"Without an interval: {', '.join(undefined)}, which is NaN for a model."] if undefined else []
    return said + ([f"Without an interval: {', '.join(summed)}, which single rows do not add up to."] if summed else [])


def _standard_errors(benchmarked: Sequence[Benchmarked], uncertainty: Mapping[str, Uncertainty]) -> list[str]:
    """What the harness says of its numbers that are no means of rows."""
    keys = [key for key in (benchmarked[0].stderr if benchmarked else ()) if key not in uncertainty]
    return [
        f"{key}: by the harness the standard error is {' and '.join(f'{one.stderr[key]:.4g}' for one in benchmarked)}."
        for key in keys
    ]


def _setting(
    evaluation: ModelEvaluation, one: Finished, row: Row, directions: dict[str, bool], observed: Observed
) -> dict[str, Any]:
    task, examples = one.opened.task, one.opened.examples["test"]
    counts = {key.replace("_", " "): f"{value:,.0f}" for key, value in row.metrics.items() if key not in directions}
    where = "all rows" if evaluation.split == "all" else f"the {evaluation.split} split"
    harness, window = evaluation.harness, evaluation.window
    return {
        "task": task.name,
        "data": f"{evaluation.data.path} ({where}: {len(examples):,} {task.unit})",
        **one.opened.facts,
        **counts,
        **({} if harness is None else {"harness": observed.benchmarked[-1].describe(harness)}),
        **({} if window is None else {"window": observed.slid[-1].describe(window)}),
        "batch size": evaluation.batch_size,
        "seed": evaluation.seed,
        **describe_machine(one.model.device),
    }
