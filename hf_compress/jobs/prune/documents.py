"""What lies beside the pruned weights: report, manifest and card."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_compress._paths import in_public, public_names
from hf_compress._registry import Strategy, dump
from hf_compress.checkpoints.location import written_as_place
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write
from hf_compress.export.configuration import without_publication
from hf_compress.export.documents import described, write_manifest_and_card
from hf_compress.jobs.prune.settings import PruneSettings


def write_documents(job: PruneSettings, report: Report, sparsity: Mapping[str, float], folder: Path) -> Report:
    """report.json, .md, .png and .html, compression.json and README.md into `folder`, and results for the Hub.

    Args:
        job: what was asked for.
        report: what was measured.
        sparsity: module name -> share of exact zeros, of the pruned layers.
        folder: that of the checkpoint.

    Returns:
        The report as it is published, with every layer.
    """
    recipe, base = without_publication(job.to_plain(full=True)), written_as_place(job.model)
    names = public_names([recipe, base])
    data = report.measured
    public = {"setting": in_public(report.setting, names), "measured": in_public(data, names)}
    report = dataclasses.replace(report, **public, layers=measure_layers(folder, sparsity))
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
