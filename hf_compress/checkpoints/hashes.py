"""What went in, to the byte: hashes of files and of results."""

import concurrent.futures
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hf_compress._digests import digest_of
from hf_compress._progress import progress
from hf_compress._safetensors import weight_files
from hf_compress.checkpoints.weight_files import program_files

if TYPE_CHECKING:
    from tqdm import tqdm

    from hf_compress.checkpoints.source import Source

ADAPTER = "adapter_model.safetensors"
"""What PEFT calls the weights of an adapter."""


def sha256_of(file: Path, bar: "tqdm | None" = None) -> str:
    """The SHA-256 of a file, in hex."""
    return digest_of(file, hashlib.sha256(), bar)


def weight_hashes(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, of what a result's folder is loaded from: weights, an exported program, an adapter's own.

    Those of an ensemble's members have the member's folder before their name.
    """
    return {file.relative_to(folder).as_posix(): sha256_of(file) for file in _weights(folder)}


def input_hashes(sources: "Mapping[str, Source]", threads: int) -> dict[str, dict[str, str]]:
    """Label -> file name -> SHA-256, of every weight file that goes in."""
    files: list[tuple[str, Path]] = [(label, file) for label, source in sources.items() for file in source.files()]
    total = sum(file.stat().st_size for _, file in files)
    with (
        progress(description="hashing inputs", total=total, unit="B", unit_scale=True) as bar,
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
    ):
        digests = list(pool.map(lambda item: sha256_of(item[1], bar), files))
    found: dict[str, dict[str, str]] = {label: {} for label in sources}
    for (label, file), digest in zip(files, digests, strict=True):
        found[label][file.name] = digest
    return found


def companion_hashes(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of every other file in a folder and below it, sorted; names use `/`.

    Hidden files are not published, and what a job keeps in them may be gone when it ends.

    Args:
        folder: of a checkpoint, before what is made of the hashes is written into it.
    """
    weights = _weights(folder)
    found = {file.relative_to(folder): file for file in folder.rglob("*") if file.is_file() and file not in weights}
    files = {name.as_posix(): file for name, file in found.items() if not any(part.startswith(".") for part in name.parts)}
    return {name: sha256_of(files[name]) for name in sorted(files)}


def _weights(folder: Path) -> list[Path]:
    """An adapter's own, or those of a model or an exported program."""
    adapter = folder / ADAPTER
    return [adapter] if adapter.is_file() else weight_files(folder) or program_files(folder)
