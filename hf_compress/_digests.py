"""The digest of a file, read in blocks."""

from pathlib import Path
from typing import Any

_BLOCK = 2**18


def digest_of(file: Path, digest: Any, bar: Any = None) -> str:
    """The hexadecimal digest of a file's content.

    Args:
        file: to read.
        digest: one of hashlib's, which may have seen something before.
        bar: moved by the bytes that are read.
    """
    block = memoryview(bytearray(_BLOCK))  # stays in the core's cache
    with file.open("rb", buffering=0) as stream:
        while size := stream.readinto(block):
            digest.update(block[:size])
            if bar is not None:
                bar.update(size)
    return str(digest.hexdigest())
