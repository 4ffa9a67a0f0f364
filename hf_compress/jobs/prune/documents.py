"""What lies beside the pruned weights: report, manifest and card."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress._registry import Strategy, dump
from hf_compress._runtimes import describe_storage
from hf_compress.checkpoints.location import written_as_place
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.measure import without_intervals
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Example, Report, Row
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write
from hf_compress.export.configuration import without_publication
from hf_compress.export.documents import described, write_manifest_and_card
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.jobs.prune.settings import PruneSettings
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Shown


def report_of(
    job: PruneSettings, opened: Opened, rows: Sequence[Row], shown: Sequence[Shown], device: torch.device, seconds: float
) -> Report:
    """What was measured, on what; layers and reach are added by who has the model.

    Args:
        job: what was asked for.
        opened: its model, data and task.
        rows: dense first.
        shown: the first measured inputs.
        device: where it was pruned and measured.
        seconds: that pruning took.
    """
    task, evaluation = opened.task, job.evaluation
    also = {key: greater for key, greater in evaluation.directions.items() if key != task.metric}
    target = job.pruning.target if evaluation.verdict.sparsity is None else evaluation.verdict.sparsity
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in opened.examples.items())
    return Report(
        title=job.display_name,
        metric=task.metric,
        greater_is_better=task.greater_is_better,
        rows=tuple(rows),
        setting={
            "task": task.name,
            "data": f"{job.data.path} ({sizes} {task.unit})",
            **opened.facts,
            "pruned by": job.method(),
            **job.looked_at(opened),
            "pruned in": f"{seconds:.3g} s",
            "stored as": describe_storage(job.export.dtype, device),
            "seed": job.seed,
            **describe_machine(device),
        },
        also=also,
        thresholds=dataclasses.replace(evaluation.verdict, sparsity=target),
        chance=task.chance(opened.raw["test"], opened.config),
        measured=measured_rows(job.data, opened.raw["test"], task.columns()),
        examples=tuple(Example(input=one.input, expected=one.expected) for one in shown),
        notes=without_intervals((task.metric, *also), rows),
    )


def write_documents(job: PruneSettings, report: Report, sparsity: Mapping[str, float], folder: Path) -> Report:
    """report.json, .md, .png and .html, compression.json and README.md into `folder`, and results for the Hub.

    Args:
        job: what was asked for.
        report: as `report_of` gives it.
        sparsity: module name -> share of exact zeros, of the pruned layers.
        folder: that of the checkpoint.

    Returns:
        The report as it is published, with every layer.
    """
    recipe, base = without_publication(job.to_plain(full=True)), written_as_place(job.model)
    names = public_names([recipe, base])
    data = report.measured
    report = dataclasses.replace(
        report,
        setting=in_public(report.setting, names),
        measured=in_public(data, names),
        layers=measure_layers(folder, sparsity),
    )
    write(report, folder)
    write_manifest_and_card(
        folder,
        kind=job.name,
        recipe=recipe,
        base_model=base,
        task=job.task.name,
        methods=_methods(job),
        report=report.to_plain(full=False),
        findings=findings(report),
        tolerance=tolerances(report.rows[-1].metrics, data["num_rows"]),
        data=data,
    )
    return report


def _methods(job: PruneSettings) -> list[dict[str, Any]]:
    """What was done: a solver in place of the criterion, and never a schedule."""
    chose: Strategy = job.pruning.criterion if job.solver is None else job.solver
    found = [described(one) for one in (chose, job.pruning.pattern, job.pruning.allocation)]
    if job.reconstruct is not None:
        summary, _, source = (type(job.reconstruct).__doc__ or "").partition("\n")
        reference = source.partition("Source: ")[2].strip().rstrip(".") or None
        done = {"kind": "technique", "name": "reconstruction", "options": dump(job.reconstruct, full=True)}
        found.append({**done, "summary": summary.strip(), "reference": reference})
    return found
