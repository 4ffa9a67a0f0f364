"""What lies beside the shrunk weights: report where rows were measured, manifest and card."""

import dataclasses
from pathlib import Path
from typing import Any

from hf_compress._paths import in_public, public_names
from hf_compress.checkpoints.location import written_as_place
from hf_compress.evaluation.layers import measure_layers
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write
from hf_compress.export.configuration import without_publication
from hf_compress.export.documents import write_manifest_and_card
from hf_compress.jobs.shrink.settings import ShrinkSettings
from hf_compress.pruning.shrink.removal import Removal


def write_documents(job: ShrinkSettings, removal: Removal, report: Report | None, cls: str, folder: Path) -> None:
    """compression.json and README.md into `folder`, and where rows were measured the report and results for the Hub.

    Args:
        job: what was asked for.
        removal: what was removed.
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
        more={"shrink": removal.to_plain(), "removed": "; then ".join(removal.sentences())},
        **measured,
    )
