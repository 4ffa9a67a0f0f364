"""`compression.json`: what was done, with what, measured how; enough to render the card again."""

import datetime
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from hf_compress import __version__
from hf_compress._errors import CompressionError

MANIFEST = "compression.json"
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "compressed-tensors", "safetensors")


def build_manifest(
    *,
    name: str,
    recipe: dict[str, Any],
    base_model: str | None,
    task: str | None,
    methods: list[dict[str, Any]],
    report: dict[str, Any],
    classes: dict[str, str | None] | None = None,
) -> dict[str, Any]:
    """The manifest of one result.

    Args:
        name: the result's name.
        recipe: the canonical recipe.
        base_model: where the weights came from; None for fresh ones.
        task: the task's name; None for a run that has none.
        methods: what was done, each with kind, name and reference.
        report: the report as plain data.
        classes: where there is no task, the classes of transformers that load `model` and `processor` (None without one).
    """
    return {
        "format": 1,
        "name": name,
        "task": task,
        **({} if classes is None else {"classes": classes}),
        "base_model": base_model,
        "methods": methods,
        "recipe": recipe,
        "report": report,
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "hf_compress": __version__,
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
        },
    }


def write_manifest(manifest: dict[str, Any], folder: Path) -> None:
    """Write compression.json into `folder`."""
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read compression.json from `folder`.

    Raises:
        CompressionError: it is missing or no manifest.
    """
    file = Path(folder) / MANIFEST
    if not file.is_file():
        raise CompressionError(f"{folder} holds no {MANIFEST}; it was not written by hf_compress")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise CompressionError(
            f"{file} is no manifest; export the model again, or take the file from where it was published"
        )
    if data.get("format") != 1:
        raise CompressionError(f"{file} has format {data.get('format')!r}, and this version reads format 1")
    return data
