"""From opened members to a folder worth publishing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hf_compress._errors import CompressionError, reason_of
from hf_compress._folders import part_of, written_beside
from hf_compress.checkpoints.outputs import compare_outputs
from hf_compress.ensembling.configuration import ALL
from hf_compress.ensembling.modelling import models
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.asked import has_classes
from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.report import table
from hf_compress.evaluation.verdict import judge
from hf_compress.inputs.batches import forward_inputs
from hf_compress.jobs.ensemble.answers import SPLITS, Answers, ask_model, costs_of, time_all
from hf_compress.jobs.ensemble.documents import write_documents
from hf_compress.jobs.ensemble.fit import Fitted, fit_members, in_order, refuse_nan, together, warmed
from hf_compress.jobs.ensemble.graph import Graph, write_graph
from hf_compress.jobs.ensemble.report_of_run import Measured, report_of_run
from hf_compress.tasks.opened import Opened, open_inputs

logger = logging.getLogger(__name__)

_CLOSE = 1e-4
"""By how much a probability of the loaded ensemble may differ from what the members' answers make, which were run alone."""


@dataclass(frozen=True, kw_only=True)
class EnsembleResult:
    """What the job left behind.

    Attributes:
        folder: with members, config, processor, code, manifest, card and, where it was measured, a report.
        report: the numbers; None without data.
        loads: what was compared when it was loaded back.
        graph: what was written beside the members; None where none was asked for.
    """

    folder: Path
    report: EnsembleReport | None
    loads: str
    graph: Graph | None = None

    def summary(self) -> str:
        """What the command line says at the end."""
        if self.report is None:
            said = ["Neither fitted nor measured: the recipe has no data.", ""]
        else:
            said = [table(self.report), "", *self.report.notes, f"Verdict: {judge(self.report)}.", ""]
        graph = [] if self.graph is None else [self.graph.said]
        return "\n".join([*said, f"{self.loads}", *graph, f"model and card  {self.folder}"])


def build(job: Any, members: Sequence[OpenedMember], out: Path, student: OpenedMember | None = None) -> EnsembleResult:
    """Ask the members one after the other, fit, write the ensemble, load it back and measure it.

    Args:
        job: the recipe.
        members: opened.
        out: the new folder, which appears when it is whole.
        student: a finished model that is measured beside them, opened.

    Raises:
        CompressionError: a member answers NaN, or the written ensemble does not answer as its members do.
    """
    if part_of(out).exists():
        logger.info("%s: an earlier run was interrupted; what it left is removed, and this one begins again", out)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    answers = [] if job.data is None else [ask_model(job, one, device) for one in members]
    for split in SPLITS if answers else ():
        asked = [one.splits[split] for one in answers]
        if job.on_nan == "refuse":
            refuse_nan(asked, members, split, "")
        elif all(one.num_nan == one.num_rows for one in asked):
            refuse_nan(asked, members, split, ", so there is none to go on with")
    costs = costs_of(job, members, answers, device)
    fitted = fit_members(job, [one.splits["validation"] for one in answers], members, costs)
    with written_beside(out) as part:
        made = _written(job, members, fitted, part)
        opened = open_inputs(str(part), job.data, job.task, seed=job.seed, measured="held_out")
        loads = _load_back(job, made, opened, part, out)
        del made
        graph = None if job.export.format is None else write_graph(job, fitted, opened, part, out)
        report = None
        if job.data is not None:
            run = Measured(
                job=job,
                members=members,
                student=student,
                fitted=fitted,
                opened=opened,
                part=part,
                device=device,
                costs=costs,
                answers=answers,
            )
            report = _measured(run, out)
            logger.info("verdict: %s", judge(report))
        if report is not None and graph is not None:
            report = replace(report, notes=(*report.notes, graph.said))
        write_documents(job, members, fitted, report, part, out, loads, None if graph is None else graph.facts)
    return EnsembleResult(folder=out, report=report, loads=loads, graph=graph)


def _measured(run: Measured, out: Path) -> EnsembleReport:
    """Ask the written ensemble, and the student; time all of them.

    Args:
        run: with the members' answers.
        out: what the folder becomes.
    """
    job, members, student = run.job, run.members, run.student
    subject = OpenedMember(name=ALL, folder=run.part, opened=run.opened, order=None, hub={})
    beside = [] if student is None else [ask_model(job, student, run.device)]
    latency: dict[str, dict[str, float]] = {}
    ours = ask_model(
        job,
        subject,
        run.device,
        counted=False,
        while_loaded=lambda model: latency.update(time_all(job, model, members, student, subject, run.device)),
    )
    _compare(job, [*run.answers, ours], members, run.fitted, out)
    return report_of_run(replace(run, answers=[*run.answers, *beside, ours], latency=latency))


def _written(job: Any, members: Sequence[OpenedMember], fitted: Fitted, part: Path) -> Any:
    """The ensemble, in memory and in `part`."""
    options: dict[str, Any] = dict(fitted.fused.options)
    if "combiner" in job.fusion.takes:
        options["combiner"] = job.combiner
    if fitted.weights is not None:
        options["weights"] = list(fitted.weights)
    made = getattr(models, job.fusion.ensemble).from_members(
        [str(member.folder) for member in members],
        names=[member.name for member in members],
        auto_class=job.task.head.auto_class,
        temperatures=None if fitted.temperatures is None else list(fitted.temperatures),
        on_nan=job.on_nan,
        **options,
    )
    made.save_pretrained(part)
    return made


def _load_back(job: Any, made: Any, opened: Opened, part: Path, out: Path) -> str:
    """What the stock Auto class makes of the folder answers a batch as the ensemble in memory does; what was compared."""
    auto_class = job.task.head.auto_class
    try:
        fresh = job.task.model_class().from_pretrained(part, trust_remote_code=False)
    except Exception as error:  # files and formats each raise their own kind
        raise CompressionError(f"{out}: what was written does not load by {auto_class} ({reason_of(error)})") from error
    batch = None
    if opened.examples:
        rows = next(iter(job.task.batches(opened.examples["test"], opened.processor, job.batch_size)))
        batch = forward_inputs(rows, made, job.task.generates)
    return f"{auto_class} loads it; {compare_outputs(made, fresh, batch, out)}"


def _compare(job: Any, answers: Sequence[Answers], members: Sequence[OpenedMember], fitted: Fitted, out: Path) -> None:
    """Refuse an ensemble that does not say what its members' answers make, on any row.

    Raises:
        CompressionError: with the largest difference of a probability.
    """
    if not has_classes(job.task):
        return
    for split in SPLITS:
        logits = in_order([one.splits[split] for one in answers[:-1]], members)
        found = answers[-1].splits[split].logits
        assert found is not None
        if logits.isnan().any():
            logger.info(
                "%s: members that answer NaN are left out batch by batch, so the sum of answers is not compared", split
            )
            continue
        settled = job.fusion.settled(fitted.fused, warmed(logits, fitted.temperatures))
        apart = (together(logits, job, fitted).exp() - found.softmax(-1)).abs()[settled]
        worst = float(apart.max()) if len(apart) else 0.0
        if not worst <= _CLOSE:
            raise CompressionError(
                f"{out}: the written ensemble's probabilities on the {split} split differ by {worst:.3g} from what its"
                f" members answer alone ({_CLOSE:g} is tolerated); nothing was kept: write batch_size: 1, and report it"
                " where that does not help"
            )
