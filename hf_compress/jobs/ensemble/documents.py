"""What lies beside an ensemble's members: report, manifest and card."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress._registry import dump
from hf_compress._units import format_bytes
from hf_compress.checkpoints.hashes import companion_hashes, weight_hashes
from hf_compress.checkpoints.licenses import license_of
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.ensembling.configuration import ALL
from hf_compress.ensembling.diagnostics import disagreement, error_correlation
from hf_compress.ensembling.labelled_rows import check_members
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.asked import PROBABILITIES, has_classes
from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.measure import without_intervals
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write_ensemble
from hf_compress.export.card.render import render_card
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.inputs.sources import open_source
from hf_compress.jobs.ensemble.fit import Fitted, in_order
from hf_compress.tasks.opened import Opened


def report_of_run(
    job: Any,
    members: Sequence[OpenedMember],
    answers: Sequence[Any],
    fitted: Fitted,
    opened: Opened,
    part: Path,
    device: torch.device,
) -> EnsembleReport:
    """The members' rows, and the ensemble's.

    Args:
        job: the recipe.
        members: in its order.
        answers: of the members, and last of the ensemble, on both splits.
        fitted: their weights and temperatures.
        opened: the ensemble.
        part: its folder.
        device: where it was measured.
    """
    task, names = job.task, [*[member.name for member in members], ALL]
    folders = [*[member.folder for member in members], part]
    rows = tuple(_row(name, folder, one.splits["test"]) for name, folder, one in zip(names, folders, answers, strict=True))
    also = {key: greater for key, greater in job.evaluation.directions.items() if key != task.metric}
    also |= PROBABILITIES if has_classes(task) else {}
    alike, errors = _alike(members, answers)
    public = public_names(job.to_plain())
    measured = measured_rows(job.data, opened.raw["test"], task.columns())
    return EnsembleReport(
        title=job.title or Path(job.output_dir).name,
        metric=task.metric,
        greater_is_better=task.greater_is_better,
        rows=rows,
        setting=in_public(_setting(job, opened, device), public),
        also=also,
        chance=task.chance(opened.raw["test"], opened.config),
        measured=in_public(measured, public),
        notes=(*fitted.notes, *_cut(job), *without_intervals((task.metric, *also), rows)),
        validation={name: one.splits["validation"].metrics[task.metric] for name, one in zip(names, answers, strict=True)},
        fitted=fitted.learned,
        weights=dict(zip(names, shares(fitted, len(members)), strict=False)),
        temperatures=dict(zip(names, fitted.temperatures or (), strict=False)),
        parameters={name: one.parameters for name, one in zip(names, answers, strict=True)},
        disagreement=alike,
        error_correlation=errors,
    )


def shares(fitted: Fitted, num_members: int) -> tuple[float, ...]:
    """The members' weights, which sum to 1."""
    return fitted.weights or (1 / num_members,) * num_members


def _row(name: str, folder: Path, asked: Any) -> Row:
    size = measure_size(folder)
    return Row(
        name=name,
        metrics=asked.metrics,
        file_bytes=size["file_bytes"],
        quantized_ratio=size["quantized_ratio"],
        intervals=asked.intervals,
    )


def _alike(members: Sequence[OpenedMember], answers: Sequence[Any]) -> tuple[list[list[float]], list[list[float | None]]]:
    """Disagreement and correlation of errors on the test split; empty where rows are not one class each, or one is NaN."""
    asked = [one.splits["test"] for one in answers[:-1]]
    if any(one.logits is None or bool(one.logits.isnan().any()) for one in asked):
        return [], []
    logits = in_order(asked, members)
    check_members(logits)
    errors = error_correlation(logits, asked[0].labels).tolist()
    return disagreement(logits).tolist(), [[None if math.isnan(one) else one for one in line] for line in errors]


def _cut(job: Any) -> list[str]:
    """That splits were made of training rows, which members may have seen."""
    cut = [name for name in ("validation", "test") if name not in open_source(job.data)]
    if not cut:
        return []
    return [
        f"The data has no {' and no '.join(cut)} split, so rows were cut from the training rows by seed {job.seed}: a"
        " member that was trained with another seed has seen some of them."
    ]


def _setting(job: Any, opened: Opened, device: torch.device) -> dict[str, Any]:
    sizes = ", ".join(f"{len(opened.examples[name]):,} {name}" for name in ("validation", "test"))
    return {
        "task": job.task.name,
        "data": f"{job.data.path} ({sizes} {job.task.unit})",
        **opened.facts,
        "combiner": job.combiner.name,
        "batch size": job.batch_size,
        "seed": job.seed,
        **describe_machine(device),
    }


def write_documents(
    job: Any,
    members: Sequence[OpenedMember],
    fitted: Fitted,
    report: EnsembleReport | None,
    part: Path,
    out: Path,
    loads: str,
) -> None:
    """The report's files, compression.json and README.md into `part`.

    Args:
        job: the recipe.
        members: in its order.
        fitted: their weights and temperatures.
        report: None where nothing was measured.
        part: the ensemble's folder.
        out: what it becomes.
        loads: what was compared when it was loaded back.
    """
    if report is not None:
        write_ensemble(report, part)
    recipe = {key: value for key, value in job.to_plain(full=True).items() if key != "export"}
    names = public_names(recipe)
    facts = {
        "task": job.task.name,
        "base_model": [member.hub["model"] for member in members if member.hub],
        "members": _members(members, fitted, part),
        "combiner": _combiner(job),
        "on_nan": job.on_nan,
        "fitted": list(fitted.learned),
        "size": format_bytes(measure_size(part)["file_bytes"]),
        "load_back": loads,
        "license": _licence(job),
        **({} if report is None else _measured(report)),
        "files": companion_hashes(part),
    }
    manifest = Manifest(
        kind="ensemble", name=job.title or out.name, recipe=in_public(recipe, names), facts=in_public(facts, names)
    )
    manifest.write(part)
    manifest = Manifest.read(part)  # with the hashes of the weights
    card = render_card(manifest, "" if report is None else findings(report))
    (part / "README.md").write_text(card, encoding="utf-8")


def _members(members: Sequence[OpenedMember], fitted: Fitted, part: Path) -> list[dict[str, Any]]:
    """Names, places on the Hub and never on this machine, weights, and hashes of what they were loaded from."""
    temperatures = fitted.temperatures or (1.0,) * len(members)
    return [
        {
            "name": member.name,
            **member.hub,
            "architecture": (getattr(member.opened.base, "architectures", None) or [None])[0],
            "weight": weight,
            "temperature": temperature,
            "files": weight_hashes(member.folder),
        }
        for member, weight, temperature in zip(members, shares(fitted, len(members)), temperatures, strict=True)
    ]


def _combiner(job: Any) -> dict[str, Any]:
    combiner = job.combiner
    options = dump(combiner)
    return {
        "kind": combiner.kind,
        "name": combiner.name,
        "options": options if isinstance(options, dict) else {},
        "summary": (type(combiner).__doc__ or "").strip().partition("\n")[0],
        "reference": None if combiner.reference is None else str(combiner.reference),
    }


def _licence(job: Any) -> Mapping[str, str]:
    """That of all members, where they have one and the same."""
    found = [license_of(member.model) for member in job.members]
    return found[0] if all(one == found[0] for one in found) else {}


def _measured(report: EnsembleReport) -> dict[str, Any]:
    return {
        "report": report.to_plain(full=False),
        "data": report.measured,
        "tolerance": tolerances(report.rows[-1].metrics, report.measured["num_rows"]),
    }
