"""What lies beside the weights of one model that was made smaller: manifest, card, results for the Hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_compress._folders import make_folder
from hf_compress._paths import in_public, public_names
from hf_compress._registry import Strategy, dump
from hf_compress.checkpoints.hashes import companion_hashes
from hf_compress.checkpoints.licenses import license_of
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.render import render_card
from hf_compress.export.card.results import leaderboard_files


def write_manifest_and_card(
    folder: Path,
    *,
    kind: str,
    recipe: dict[str, Any],
    base_model: str | None,
    task: str | None,
    methods: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any] | None,
    findings: str,
    tolerance: Mapping[str, float],
    data: Mapping[str, Any] | None,
    classes: Mapping[str, str | None] | None = None,
    more: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> None:
    """compression.json and README.md into `folder`, and results for the Hub.

    They are there to be published, so they say `./name` where the recipe has a path of this machine.

    Args:
        folder: that of the checkpoint, with the files of its report.
        kind: the job that made it.
        recipe: the canonical recipe.
        base_model: where the weights came from; None for fresh ones.
        task: the task's name; None for a run that has none.
        methods: what was done, see `described`.
        report: as plain data, without what only pictures are made of; its `title` is the result's name. None where
            nothing was measured.
        findings: its table and verdict, as text.
        tolerance: by how much each of its numbers may differ where it is measured again.
        data: the rows that were measured, see `measured_rows`; None where nobody knows where they are from.
        classes: where there is no task, the classes of transformers that load `model` and `processor` (None without one).
        more: other facts.
        name: the result's, where there is no report with its title.
    """
    names = public_names([recipe, base_model])
    facts = {
        "task": task,
        **({} if classes is None else {"classes": classes}),
        "base_model": base_model,
        "methods": methods,
        "data": data,
        **(more or {}),
    }
    plain = {
        **in_public(facts, names),
        "license": {} if base_model is None else license_of(base_model),
        **({} if report is None else {"report": report, "tolerance": tolerance}),
        "files": companion_hashes(folder),
    }
    manifest = Manifest(kind=kind, name=report["title"] if report else name, recipe=in_public(recipe, names), facts=plain)
    manifest.write(folder)
    manifest = Manifest.read(folder)  # with the hashes of the weights
    for name, text in leaderboard_files(manifest).items():
        make_folder((folder / name).parent)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(render_card(manifest, findings), encoding="utf-8")


def described(strategy: Strategy) -> dict[str, Any]:
    """What was done, for the manifest and the card: kind, name, options, a sentence and where it was published."""
    options = dump(strategy)
    return {
        "kind": strategy.kind,
        "name": strategy.name,
        "options": options if isinstance(options, dict) else {},
        "summary": (type(strategy).__doc__ or "").strip().partition("\n")[0],
        "reference": None if strategy.reference is None else str(strategy.reference),
    }
