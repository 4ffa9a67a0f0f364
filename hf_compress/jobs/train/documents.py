"""What lies beside a result's weights: report, manifest and card, for runs from recipes and from Python alike."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

from hf_compress._paths import in_public, public_names
from hf_compress.evaluation.report import table
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.write import write
from hf_compress.export.card import render_card
from hf_compress.export.manifest import build_manifest, write_manifest
from hf_compress.training.compression import Compression


def write_documents(report: Report, folder: Path, **facts: Any) -> None:
    """report.json, report.md, report.png, compression.json and README.md into `folder`.

    They are there to be published, so they say `./name` where the recipe has a path of this machine.

    Args:
        report: the rows.
        folder: that of the checkpoint.
        **facts: what `build_manifest` asks for beside the name and the report.
    """
    names = public_names([facts["recipe"], facts["base_model"]])
    report, facts = dataclasses.replace(report, setting=in_public(report.setting, names)), in_public(facts, names)
    write(report, folder)
    manifest = build_manifest(name=report.title, report=report.to_plain(), **facts)
    write_manifest(manifest, folder)
    (folder / "README.md").write_text(render_card(manifest, table(report)), encoding="utf-8")


def describe_methods(compression: Compression) -> list[dict[str, Any]]:
    """What was done, for the manifest and the card."""
    return [
        {"kind": item.kind, "name": item.name, "reference": None if item.reference is None else str(item.reference)}
        for item in compression.strategies()
    ]


def describe_machine(device: torch.device) -> dict[str, str]:
    """Machine, versions and date, for a report's setting."""
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()}, {os.cpu_count()} cores"
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers", "compressed-tensors")
    )
    return {
        "machine": machine,
        "versions": f"Python {platform.python_version()}, {versions}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
