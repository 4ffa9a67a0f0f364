"""What lies beside an ensemble's members: report, manifest and card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_compress._paths import in_public, public_names
from hf_compress._units import format_bytes
from hf_compress.checkpoints.hashes import companion_hashes, weight_hashes
from hf_compress.checkpoints.licenses import license_of
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.size import measure_size
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write_ensemble
from hf_compress.export.card.render import render_card
from hf_compress.export.documents import described
from hf_compress.jobs.ensemble.fit import Fitted
from hf_compress.jobs.ensemble.report_of_run import shares


def write_documents(
    job: Any,
    members: Sequence[OpenedMember],
    fitted: Fitted,
    report: EnsembleReport | None,
    part: Path,
    out: Path,
    loads: str,
    graph: Mapping[str, Any] | None = None,
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
        graph: facts about the graph beside the members; None without one.
    """
    if report is not None:
        write_ensemble(report, part)
    recipe = {key: value for key, value in job.to_plain(full=True).items() if key != "export"}
    if job.export.format is not None:
        recipe["export"] = {"format": job.export.format}
    names = public_names(recipe)
    facts = {
        "task": job.task.name,
        "base_model": [member.hub["model"] for member in members if member.hub],
        "members": _members(members, fitted, part),
        "combiner": described(job.combiner),
        "fusion": {**described(job.fusion), "found": fitted.fused.facts},
        "on_nan": job.on_nan,
        "fitted": list(fitted.learned),
        "size": format_bytes(measure_size(part)["file_bytes"]),
        "load_back": loads,
        "license": _licence(job),
        **({} if graph is None else {"graph": dict(graph)}),
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
