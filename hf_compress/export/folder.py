"""Outputs are written beside their place and renamed, so that a folder is whole or not there."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from hf_compress._errors import CompressionError


@contextlib.contextmanager
def written_beside(folder: Path) -> Iterator[Path]:
    """A temporary sibling that becomes `folder` when the block succeeds and disappears when it fails.

    Raises:
        CompressionError: `folder` exists already.
    """
    if folder.exists():
        raise CompressionError(f"{folder} exists already; remove it or choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
