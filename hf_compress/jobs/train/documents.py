"""What lies beside a result's weights: report, manifest and card, for runs from recipes and from Python alike."""

import dataclasses
from pathlib import Path
from typing import Any

from hf_compress._folders import make_folder
from hf_compress._paths import in_public, public_names
from hf_compress._registry import dump
from hf_compress.checkpoints.hashes import companion_hashes
from hf_compress.checkpoints.licenses import license_of
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write
from hf_compress.export.card.render import render_card
from hf_compress.export.card.results import leaderboard_files
from hf_compress.training.compression import Compression


def write_documents(
    report: Report,
    folder: Path,
    *,
    recipe: dict[str, Any],
    base_model: str | None,
    task: str | None,
    methods: list[dict[str, Any]],
    classes: dict[str, str | None] | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """report.json, .md, .png and .html, compression.json and README.md into `folder`, and results for the Hub.

    They are there to be published, so they say `./name` where the recipe has a path of this machine.

    Args:
        report: the rows.
        folder: that of the checkpoint.
        recipe: the canonical recipe.
        base_model: where the weights came from; None for fresh ones.
        task: the task's name; None for a run that has none.
        methods: what was done, each with kind, name and reference.
        classes: where there is no task, the classes of transformers that load `model` and `processor` (None without one).
        data: the rows that were measured, see `measured_rows`; None where nobody knows where they are from.
    """
    names = public_names([recipe, base_model])
    report = dataclasses.replace(report, setting=in_public(report.setting, names))
    facts = {
        "task": task,
        **({} if classes is None else {"classes": classes}),
        "base_model": base_model,
        "methods": methods,
        "data": data,
    }
    write(report, folder)
    plain = {
        **in_public(facts, names),
        "license": {} if base_model is None else license_of(base_model),
        "report": report.to_plain(full=False),
        "tolerance": tolerances(report.rows[-1].metrics, None if data is None else data["num_rows"]),
        "files": companion_hashes(folder),
    }
    manifest = Manifest(kind="train", name=report.title, recipe=in_public(recipe, names), facts=plain)
    manifest.write(folder)
    manifest = Manifest.read(folder)  # with the hashes of the weights
    for name, text in leaderboard_files(manifest).items():
        make_folder((folder / name).parent)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(render_card(manifest, findings(report)), encoding="utf-8")


ZEROS_KEPT = "The zeros that the model came with were kept, and none were added."


def describe_methods(compression: Compression) -> list[dict[str, Any]]:
    """What was done, for the manifest and the card."""
    kept: dict[str, Any] = {"kind": "masks", "name": "from_zeros", "options": {}, "summary": ZEROS_KEPT, "reference": None}
    return [
        *([kept] if compression.keeps_zeros else []),
        *(
            {
                "kind": item.kind,
                "name": item.name,
                "options": options if isinstance(options := dump(item), dict) else {},
                "summary": (type(item).__doc__ or "").strip().partition("\n")[0],
                "reference": None if item.reference is None else str(item.reference),
            }
            for item in compression.strategies()
        ),
    ]
