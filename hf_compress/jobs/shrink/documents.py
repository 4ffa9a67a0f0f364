"""What lies beside the shrunk weights: report where rows were measured, manifest and card."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress._runtimes import describe_storage
from hf_compress.checkpoints.location import written_as_place
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.measure import without_intervals
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Example, Report, Row
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write
from hf_compress.export.configuration import without_publication
from hf_compress.export.documents import write_manifest_and_card
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.jobs.shrink.settings import ShrinkSettings
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.tasks.opened import Opened
from hf_compress.tasks.shown import Shown

_CHOSEN_BY = {
    "weights": "weights",
    "activations": "what is written on examples",
    "taylor": "how the loss of examples would change",
}


def report_of(
    job: ShrinkSettings,
    opened: Opened,
    rows: Sequence[Row],
    shown: Sequence[Shown],
    device: torch.device,
    choice: ShrinkChoice,
) -> Report:
    """What was measured, on what.

    Args:
        job: what was asked for, with task and data.
        opened: its model, data and task.
        rows: dense first.
        shown: the first measured inputs.
        device: where it was measured.
        choice: what was removed.
    """
    assert job.data is not None
    task, evaluation = opened.task, job.evaluation
    also = {key: greater for key, greater in evaluation.directions.items() if key != task.metric}
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
            "chosen by": _CHOSEN_BY[choice.importance],
            "stored as": describe_storage(job.export.dtype, device),
            "seed": job.seed,
            **describe_machine(device),
        },
        reach=(choice.sentence(),),
        also=also,
        thresholds=evaluation.verdict,
        chance=task.chance(opened.raw["test"], opened.config),
        measured=measured_rows(job.data, opened.raw["test"], task.columns()),
        examples=tuple(Example(input=one.input, expected=one.expected) for one in shown),
        notes=without_intervals((task.metric, *also), rows),
    )


def write_documents(job: ShrinkSettings, choice: ShrinkChoice, report: Report | None, cls: str, folder: Path) -> None:
    """compression.json and README.md into `folder`, and where rows were measured the report and results for the Hub.

    Args:
        job: what was asked for.
        choice: what was removed.
        report: None without rows.
        cls: the model's class.
        folder: that of the checkpoint.
    """
    recipe, base = without_publication(job.to_plain(full=True)), written_as_place(job.model)
    names = public_names([recipe, base])
    measured: dict[str, Any] = {"report": None, "findings": "", "tolerance": {}, "data": None}
    if report is not None:
        data = in_public(report.measured, names)
        setting = in_public(report.setting, names)
        report = dataclasses.replace(report, setting=setting, measured=data, layers=measure_layers(folder, {}))
        write(report, folder)
        measured = {
            "report": report.to_plain(full=False),
            "findings": findings(report),
            "tolerance": tolerances(report.rows[-1].metrics, data["num_rows"]),
            "data": data,
        }
    write_manifest_and_card(
        folder,
        kind=job.name,
        name=job.display_name,
        recipe=recipe,
        base_model=base,
        task=None if job.task is None else job.task.name,
        methods=[job.shrink.method],
        classes={"model": cls, "processor": None} if job.task is None else None,
        more={"shrink": choice.to_plain(), "removed": choice.sentence()},
        **measured,
    )
