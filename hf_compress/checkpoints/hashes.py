"""What went in, to the byte: hashes of files and of results."""

import concurrent.futures
import hashlib
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from hf_compress._progress import progress
from hf_compress.checkpoints.source import Source

_BLOCK = 2**18


def sha256_of(file: Path, bar: tqdm | None = None) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))  # stays in the core's cache
    with file.open("rb", buffering=0) as stream:
        while size := stream.readinto(block):
            digest.update(block[:size])
            if bar is not None:
                bar.update(size)
    return digest.hexdigest()


def input_hashes(sources: Mapping[str, Source], threads: int) -> dict[str, dict[str, str]]:
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
