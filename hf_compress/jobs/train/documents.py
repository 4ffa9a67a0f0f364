"""What lies beside a result's weights: report, manifest and card, for runs from recipes and from Python alike."""

import dataclasses
from pathlib import Path
from typing import Any

from hf_compress._paths import in_public, public_names
from hf_compress.evaluation.report import findings
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.tolerance import tolerances
from hf_compress.evaluation.write import write
from hf_compress.export.documents import described, write_manifest_and_card
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
    shrink: dict[str, Any] | None = None,
) -> None:
    """report.json, .md, .png and .html, compression.json and README.md into `folder`, and results for the Hub.

    Args:
        report: the rows.
        folder: that of the checkpoint.
        recipe: the canonical recipe.
        base_model: see `write_manifest_and_card`, as the others.
        task: see there.
        methods: see there.
        classes: see there.
        data: see there.
        shrink: which parts were taken out, where some were.
    """
    names = public_names([recipe, base_model])
    public = {key: in_public(getattr(report, key), names) for key in ("setting", "measured")}
    report = dataclasses.replace(report, **public)
    write(report, folder)
    write_manifest_and_card(
        folder,
        kind="train",
        recipe=recipe,
        base_model=base_model,
        task=task,
        methods=methods,
        report=report.to_plain(full=False),
        findings=findings(report),
        tolerance=tolerances(report.rows[-1].metrics, None if data is None else data["num_rows"]),
        data=data,
        classes=classes,
        more={} if shrink is None else {"shrink": shrink},
    )


ZEROS_KEPT = "The zeros that the model came with were kept, in the layers that pruning covers, and none were added."


def describe_methods(compression: Compression) -> list[dict[str, Any]]:
    """What was done, for the manifest and the card."""
    kept: dict[str, Any] = {"kind": "masks", "name": "from_zeros", "options": {}, "summary": ZEROS_KEPT, "reference": None}
    return [*([kept] if compression.keeps_zeros else []), *map(described, compression.strategies())]
