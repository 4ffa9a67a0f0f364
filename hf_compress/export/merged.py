"""Merging with everything a published checkpoint needs: weights, config, tokenizer, manifest, card."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hf_compress._errors import CompressionError
from hf_compress._folders import remove
from hf_compress._kinds import require
from hf_compress._registry import dump
from hf_compress._safetensors import INDEX
from hf_compress._units import format_bytes
from hf_compress.checkpoints.architecture import model_class
from hf_compress.checkpoints.hashes import companion_hashes
from hf_compress.checkpoints.licenses import license_of
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.render import render_card
from hf_compress.export.requantize import has_processor, quantization_of, requantize
from hf_compress.merging.configuration import Merge
from hf_compress.merging.engine.opened import OpenedMerge
from hf_compress.merging.engine.result import MergeResult
from hf_compress.merging.engine.run import merge_checkpoints


def merge(
    job: Merge,
    out: str | Path,
    *,
    device: str = "cpu",
    threads: int | None = None,
    title: str | None = None,
    opened: OpenedMerge | None = None,
) -> MergeResult:
    """Merge models into a new folder that is ready to be published.

    Args:
        job: which models, which method.
        out: the folder; must not exist. It appears when the result is whole and loads; an interrupted merge goes on at the
            last finished file when it is started again.
        device: where to compute ("cpu", "cuda").
        threads: tensors at once; the result does not depend on it.
        title: of the card; by default the folder's name.
        opened: see `merge_checkpoints`.

    Raises:
        CompressionError: inputs that do not fit together, a full disk, NaN; nothing that looks whole is left.
    """
    require(job, Merge, "merge(Merge(method=Linear(), members=[Member(one), Member(other)]), out)")
    out = Path(out)

    def finish(folder: Path, result: MergeResult) -> None:
        if result.quantized and job.quantized == "requantize":
            # The result is the caller's as well: what happened here belongs into its reports.
            result.reports["requantized"] = _requantize(folder, result)
        facts = {"license": _licence(job), "files": companion_hashes(folder)}
        manifest = merge_manifest(result, title or out.name, weights_bytes(folder), has_processor(folder), facts)
        manifest.write(folder)
        card = render_card(Manifest.read(folder))  # with the hashes of the weights
        (folder / "README.md").write_text(card, encoding="utf-8")

    return merge_checkpoints(
        job, out, device=device, threads=threads, opened=opened, begin=check_requantizing, finish=finish
    )


def check_requantizing(job: OpenedMerge) -> None:
    """Refuse what could only be found out at the end: a result that cannot be quantized again.

    Raises:
        CompressionError: see `quantization_of`; the result has no head, or config.json no class to load it by.
    """
    if not job.quantization or job.merge.quantized != "requantize":
        return
    quantization_of(job.quantization)
    if job.heads.dropped:
        raise CompressionError(
            "heads: drop leaves a head to be trained, and quantizing the result again would make one of random numbers;"
            " write quantized: dense"
        )
    if job.rehearsed is not None and job.rehearsed.absent:
        raise CompressionError(
            f"{job.reference.place} lacks {job.rehearsed.absent[0]}, and quantizing the result again would make one of"
            " random numbers; write quantized: dense"
        )
    if model_class(job.reference.config) is None:
        raise CompressionError(
            f"{job.reference.place}/config.json names no class of transformers in architectures, so the result cannot be"
            " loaded to be quantized again; name it there, or write quantized: dense"
        )


def weights_bytes(folder: Path) -> int:
    """What the weight files weigh."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _requantize(folder: Path, result: MergeResult) -> dict[str, Any]:
    """Replace the dense weights in `folder` by quantized ones; the error, as plain data."""
    packed = folder.with_name(f"{folder.name}.packed")
    remove(packed)
    try:
        done = requantize(folder, packed, result.quantization, result.quantized)
        dense = sorted(folder.glob("*.safetensors"))
        with safe_open(dense[0], "pt") as file:
            metadata = file.metadata()
        for file in [*dense, folder / INDEX]:
            file.unlink(missing_ok=True)
        for file in sorted(packed.iterdir()):
            if file.suffix == ".safetensors":
                # Where the weights came from goes with them.
                save_file(load_file(file), folder / file.name, metadata=metadata)
            else:
                shutil.copyfile(file, folder / file.name)
    finally:
        shutil.rmtree(packed, ignore_errors=True)
    return done.to_plain(full=False)


def _licence(job: Merge) -> dict[str, str]:
    """That of all inputs, where they have one and the same."""
    models = {member.model for member in job.members} | ({job.base} if job.base else set())
    found = [license_of(model) for model in sorted(models)]
    return found[0] if all(one == found[0] for one in found) else {}


def merge_manifest(
    result: MergeResult, title: str, num_bytes: int, processor: bool = False, more: Mapping[str, Any] | None = None
) -> Manifest:
    """What a merge says of itself: parameters, inputs with their hashes, where every tensor went, versions.

    Args:
        result: what the merge left behind.
        title: of the card.
        num_bytes: of the weight files.
        processor: one lies beside the weights.
        more: other facts.
    """
    reasons: dict[str, int] = {}
    for task in result.account.tasks.values():
        if task.reason:
            what = f"{'copied' if task.action == 'copy' else 'of these'} ({task.reason})"
            reasons[what] = reasons.get(what, 0) + 1
    for reason in result.account.excluded.values():
        reasons[f"left out ({reason})"] = reasons.get(f"left out ({reason})", 0) + 1
    method = result.merge.method
    reference = method.reference
    facts = {
        "merge": dump(result.merge, full=True),
        "architecture": result.architecture,
        "processor": processor,
        "method": {"name": method.name, "reference": None if reference is None else str(reference)},
        "inputs": result.inputs,
        "tensors": {"merged": result.account.counts()["merged"], **dict(sorted(reasons.items()))},
        "size": format_bytes(num_bytes),
        "load_back": result.loads,
        "reports": result.reports,
        **(more or {}),
    }
    recipe = {"job": "merge", "method": dump(method), **dump(result.merge)}
    return Manifest(kind="merge", name=title, recipe=recipe, facts=facts)
