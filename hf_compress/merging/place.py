"""The folder a merge writes: refused where it cannot be, and written by one process at a time."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hf_compress._errors import CompressionError


def check_place(out: Path) -> None:
    """Refuse a folder that cannot be made.

    Raises:
        CompressionError: it exists, or would lie in a file or in a folder that cannot be written to.
    """
    if out.exists() or out.is_symlink():
        raise CompressionError(f"{out} exists already; remove it or name another folder")
    existing = existing_parent(out)
    if not existing.is_dir():
        raise CompressionError(f"{out}: {existing} is a file; name another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise CompressionError(f"{out}: {existing} cannot be written to; name a folder that can")


def check_outside(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse a result inside one of its inputs, which stay untouched.

    Raises:
        CompressionError: naming both.
    """
    for folder in inputs:
        if out.resolve().is_relative_to(folder.resolve()):
            raise CompressionError(f"{out} would lie in {folder}, which is an input; name a folder outside")


def existing_parent(out: Path) -> Path:
    """The nearest folder above that exists."""
    return next(parent for parent in out.absolute().parents if parent.exists())


@contextlib.contextmanager
def held(part: Path, out: Path) -> Iterator[None]:
    """`part` is made and locked; the lock ends with the process, and what is empty when the block ends is removed.

    Args:
        part: what is written.
        out: what it becomes.

    Raises:
        CompressionError: another process holds it, or has just finished.
    """
    existing = existing_parent(part)
    part.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(part, os.O_RDONLY)
    try:
        if not _lock(descriptor):
            raise CompressionError(f"{out}: another merge is writing it; wait until it ends, or name another folder")
        if out.exists():
            raise CompressionError(f"{out} exists already; remove it or name another folder")
        yield
    finally:
        os.close(descriptor)
        for folder in (part.absolute(), *part.absolute().parents):
            if folder == existing:
                break
            with contextlib.suppress(OSError):
                folder.rmdir()


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove what is in it, but for the names to keep."""
    for entry in folder.iterdir():
        if entry.name not in keep:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _lock(descriptor: int) -> bool:
    """False where another process has it; systems without such locks hold nothing."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
