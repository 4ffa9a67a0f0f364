"""The report of a run: a row for each member and the ensemble, and what they cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress.ensembling.configuration import ALL
from hf_compress.ensembling.diagnostics import disagreement, error_correlation
from hf_compress.ensembling.labelled_rows import check_members
from hf_compress.ensembling.member_costs import MemberCosts
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.asked import PROBABILITIES, has_classes
from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.measure import without_intervals
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.inputs.measured_rows import measured_rows
from hf_compress.inputs.sources import open_source
from hf_compress.jobs.ensemble.answers import Answers
from hf_compress.jobs.ensemble.fit import Fitted, in_order, warmed
from hf_compress.tasks.opened import Opened


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run whose ensemble is written, and what was found of it.

    Attributes:
        job: the recipe.
        members: in its order.
        student: a model that is measured beside them.
        fitted: what was learned.
        opened: the ensemble's rows.
        part: its folder.
        device: where all are asked.
        costs: of a row in each member; None where nobody knows.
        answers: of the members, of the student, and last of the ensemble, on both splits.
        latency: model -> batch size -> milliseconds of a row.
    """

    job: Any
    members: Sequence[OpenedMember]
    student: OpenedMember | None
    fitted: Fitted
    opened: Opened
    part: Path
    device: torch.device
    costs: MemberCosts | None
    answers: Sequence[Answers]
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of the members."""
        return [one.name for one in self.members]


def report_of_run(run: Measured) -> EnsembleReport:
    """The members' rows, the student's, and the ensemble's."""
    job, members, student, fitted = run.job, run.members, run.student, run.fitted
    task, opened, answers, latency = job.task, run.opened, run.answers, run.latency
    beside = [] if student is None else [student]
    subjects = [*members, *beside]
    names = [*[one.name for one in subjects], ALL]
    folders = [*[one.folder for one in subjects], run.part]
    rows = tuple(
        _row(name, folder, one.splits["test"], latency.get(name, {}))
        for name, folder, one in zip(names, folders, answers, strict=True)
    )
    also = {key: greater for key, greater in job.evaluation.directions.items() if key != task.metric}
    also |= PROBABILITIES if has_classes(task) else {}
    alike, errors = _alike(members, answers[: len(members)])
    public = public_names(job.to_plain())
    measured = measured_rows(job.data, opened.raw["test"], task.columns())
    validation = {name: one.splits["validation"].metrics[task.metric] for name, one in zip(names, answers, strict=True)}
    # On the rows that taught it a classifier with a number for every pair of classes looks better than it is.
    held_out = fitted.fused.facts.get("accuracy_held_out") if task.metric == "accuracy" else None
    return EnsembleReport(
        title=job.title or Path(job.output_dir).name,
        metric=task.metric,
        greater_is_better=task.greater_is_better,
        rows=rows,
        setting=in_public(_setting(run), public),
        also=also,
        chance=task.chance(opened.raw["test"], opened.config),
        measured=in_public(measured, public),
        notes=(*fitted.notes, *_unbeaten(run, rows), *_cut(job), *without_intervals((task.metric, *also), rows)),
        validation=validation | ({} if held_out is None else {ALL: held_out}),
        by_folds=held_out is not None,
        fitted=fitted.learned,
        weights=dict(zip(run.names, shares(fitted, len(members)), strict=True)) if "weights" in job.fusion.takes else {},
        temperatures=dict(zip(names, fitted.temperatures or (), strict=False)),
        parameters={name: one.parameters for name, one in zip(names, answers, strict=True)},
        disagreement=alike,
        error_correlation=errors,
        fusion=job.fusion.name,
        student=None if student is None else student.name,
        latency={name: dict(found) for name, found in latency.items()},
        **_costs(run),
    )


def shares(fitted: Fitted, num_members: int) -> tuple[float, ...]:
    """The members' weights, which sum to 1."""
    return fitted.weights or (1 / num_members,) * num_members


def _row(name: str, folder: Path, asked: Any, latency: Mapping[str, float]) -> Row:
    size = measure_size(folder)
    return Row(
        name=name,
        metrics=asked.metrics,
        file_bytes=size["file_bytes"],
        quantized_ratio=size["quantized_ratio"],
        intervals=asked.intervals,
        latency_ms=latency.get("1"),
    )


def _costs(run: Measured) -> dict[str, Any]:
    """What a row costs in every model: the ensemble's from where each row went, on the same rows."""
    names, answers, student = run.names, run.answers, run.student
    macs = {name: float(one.macs) for name, one in zip(names, answers, strict=False) if one.macs is not None}
    found: dict[str, Any] = {"macs": macs}
    if student is not None:
        macs[student.name] = float(answers[len(names)].macs or 0)
    if run.costs is None:
        return found
    each, unit = run.costs.each, run.costs.unit
    paid = tuple(run.fitted.fused.options.get("costs") or each)  # of rows as they reach the members: more, by the clock
    costs = dict(zip(names, each, strict=True))
    if student is not None and unit in ("MACs", "ms"):
        timed = run.latency.get(student.name, {}).get(str(run.job.batch_size))
        own = macs[student.name] if unit == "MACs" else timed
        costs |= {} if own is None else {student.name: own}
    found |= {"costs": costs, "cost_unit": unit, "validation_costs": dict(zip(names, each, strict=True))}
    on = {split: _on_rows(run, split, paid) for split in ("validation", "test")}
    by_macs = tuple(macs[name] for name in names)
    counted = on["test"] if by_macs == paid else _on_rows(run, "test", by_macs)
    if on["test"] is None or on["validation"] is None or counted is None:
        return found
    costs[ALL], found["validation_costs"][ALL], macs[ALL] = (one["cost"] for one in (on["test"], on["validation"], counted))
    if "shares" in on["test"]:
        thresholds = [*run.fitted.fused.options["thresholds"], None]
        found["stages"] = [
            {"member": name, "threshold": threshold, "cost": cost, "validation": there, "test": here}
            for name, threshold, cost, there, here in zip(
                names, thresholds, paid, on["validation"]["shares"], on["test"]["shares"], strict=True
            )
        ]
        found["curve"] = on["test"]["curve"] if run.job.task.metric == "accuracy" else []
    return found


def _on_rows(run: Measured, split: str, costs: Sequence[float]) -> Mapping[str, Any] | None:
    """See `Fusion.on_rows`; None where a member answers NaN."""
    if not has_classes(run.job.task):
        return {"cost": float(sum(costs))}
    asked = [one.splits[split] for one in run.answers[: len(run.members)]]
    if any(one.num_nan for one in asked):
        return None
    logits = warmed(in_order(asked, run.members), run.fitted.temperatures)
    found: Mapping[str, Any] = run.job.fusion.on_rows(run.fitted.fused, logits, asked[0].labels, costs)
    return found


def _alike(
    members: Sequence[OpenedMember], answers: Sequence[Answers]
) -> tuple[list[list[float]], list[list[float | None]]]:
    """Disagreement and correlation of errors on the test split; empty where rows are not one class each, or one is NaN."""
    asked = [one.splits["test"] for one in answers]
    labels = asked[0].labels
    if labels is None or any(one.num_nan for one in asked):
        return [], []
    logits = in_order(asked, members)
    check_members(logits)
    errors = error_correlation(logits, labels).tolist()
    return disagreement(logits).tolist(), [[None if math.isnan(one) else one for one in line] for line in errors]


def _unbeaten(run: Measured, rows: Sequence[Row]) -> list[str]:
    """A sentence where a member is at least as good as the ensemble on the test rows, which the verdict does not go by."""
    task, ours = run.job.task, rows[-1].metrics[run.job.task.metric]
    known = {row.name: row.metrics[task.metric] for row in rows[: len(run.members)]}
    best = (max if task.greater_is_better else min)(known, key=known.__getitem__)
    if ours > known[best] if task.greater_is_better else ours < known[best]:
        return []
    name = task.metric.replace("_", " ")
    return [f"On the test rows the ensemble does not beat {best!r} ({name} {ours:.4g} and {known[best]:.4g})."]


def _cut(job: Any) -> list[str]:
    """That splits were made of training rows, which members may have seen."""
    cut = [name for name in ("validation", "test") if name not in open_source(job.data)]
    if not cut:
        return []
    return [
        f"The data has no {' and no '.join(cut)} split, so rows were cut from the training rows by seed {job.seed}: a"
        " member that was trained with another seed has seen some of them."
    ]


def _setting(run: Measured) -> dict[str, Any]:
    job, opened, latency = run.job, run.opened, run.job.latency
    sizes = ", ".join(f"{len(opened.examples[name]):,} {name}" for name in ("validation", "test"))
    timed = (
        "not timed"
        if latency is None
        else f"the first {latency.rows} test rows one by one, or a batch; all models in turns, {latency.rounds} rounds"
        f" after {latency.warmup}, medians"
    )
    return {
        "task": job.task.name,
        "data": f"{job.data.path} ({sizes} {job.task.unit})",
        **opened.facts,
        "fusion": job.fusion.name,
        **({"combiner": job.combiner.name} if "combiner" in job.fusion.takes else {}),
        "batch size": job.batch_size,
        "seed": job.seed,
        "MACs": f"of the first {job.batch_size} validation rows, padded to the longest",
        "latency": timed,
        "threads": str(torch.get_num_threads()),
        **describe_machine(run.device),
    }
