"""Merging with everything a published checkpoint needs: weights, config, tokenizer, manifest, card."""

import datetime
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

from hf_compress import __version__
from hf_compress._registry import dump
from hf_compress._units import format_bytes
from hf_compress.export.manifest import write_manifest
from hf_compress.export.merge_card import render_merge_card
from hf_compress.merging.configuration import Merge
from hf_compress.merging.merge import MergeResult, merge_checkpoints


def merge(
    job: Merge, out: str | Path, *, device: str = "cpu", threads: int | None = None, title: str | None = None
) -> MergeResult:
    """Merge models into a new folder that is ready to be published.

    Args:
        job: which models, which method.
        out: the folder; must not exist. It appears when the result is whole and loads; an interrupted merge goes on at the
            last finished file when it is started again.
        device: where to compute ("cpu", "cuda").
        threads: tensors at once; the result does not depend on it.
        title: of the card; by default the folder's name.

    Raises:
        CompressionError: inputs that do not fit together, a full disk, NaN; nothing that looks whole is left.
    """
    out = Path(out)

    def finish(folder: Path, result: MergeResult) -> None:
        manifest = merge_manifest(job, result, title or out.name)
        write_manifest(manifest, folder)
        (folder / "README.md").write_text(render_merge_card(manifest))

    return merge_checkpoints(job, out, device=device, threads=threads, finish=finish)


def merge_manifest(job: Merge, result: MergeResult, title: str) -> dict[str, Any]:
    """`compression.json` of a merge: parameters, inputs with their hashes, where every tensor went, versions."""
    reasons: dict[str, int] = {}
    for task in result.account.tasks.values():
        if task.action == "copy":
            reasons[f"copied ({task.reason})"] = reasons.get(f"copied ({task.reason})", 0) + 1
    for reason in result.account.excluded.values():
        reasons[f"left out ({reason})"] = reasons.get(f"left out ({reason})", 0) + 1
    reference = job.method.reference
    return {
        "format": 1,
        "kind": "merge",
        "name": title,
        "merge": dump(job.plain(), full=True),
        "method": {"name": job.method.name, "reference": None if reference is None else str(reference)},
        "inputs": result.inputs,
        "tensors": {"merged": result.account.counts()["merged"], **dict(sorted(reasons.items()))},
        "size": format_bytes(result.num_bytes),
        "load_back": result.loads,
        "sparsity": result.sparsity,
        "notes": list(result.notes),
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": {
            "hf_compress": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "transformers", "safetensors")},
        },
    }
