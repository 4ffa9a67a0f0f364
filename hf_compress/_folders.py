"""Folders that are written: whole or not there, held by one process, and never through a symbolic link."""

import contextlib
import logging
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hf_compress._disk import disk_errors
from hf_compress._errors import CompressionError

logger = logging.getLogger(__name__)


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
    refuse_link(part_of(out))


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


def part_of(out: Path) -> Path:
    """The hidden folder beside `out` that is written and then gets its name."""
    return out.with_name(f".{out.name}.part")


def refuse_link(path: Path, below: Path | None = None) -> None:
    """Refuse a symbolic link where something of ours is written, emptied, replaced or removed.

    Args:
        path: need not exist.
        below: the folders between this one and `path` are looked at too; None = `path` alone.

    Raises:
        CompressionError: naming the link and what it points to.
    """
    top = path.parent if below is None else below
    names = path.relative_to(top).parts
    steps = [top.joinpath(*names[:end]) for end in range(1, len(names) + 1)]
    for step in steps:
        if step.is_symlink():
            raise CompressionError(
                f"{step} is a symbolic link to {step.readlink()}, and what lies there is written, emptied or removed;"
                " remove the link, or put what it points to in its place"
            )


def remove(folder: Path, below: Path | None = None) -> None:
    """Remove a folder with all that is in it, where there is one.

    Args:
        folder: of ours.
        below: see `refuse_link`.

    Raises:
        CompressionError: it is a symbolic link.
    """
    refuse_link(folder, below)
    if folder.exists():
        shutil.rmtree(folder)


def replace(folder: Path, place: Path, below: Path | None = None) -> None:
    """Move a finished folder to its place, where an earlier one may lie.

    Args:
        folder: becomes `place`.
        place: removed first.
        below: see `refuse_link`.

    Raises:
        CompressionError: a symbolic link lies there.
    """
    remove(place, below)
    place.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(place)


@contextlib.contextmanager
def written_beside(out: Path) -> Iterator[Path]:
    """A folder beside `out` that gets its name when the block ends well, and is removed when it does not.

    What a killed process left there is removed first.

    Raises:
        CompressionError: `out` exists, another process is writing it, its part is a symbolic link, or the disk is full.
    """
    part = part_of(out)
    with disk_errors(out), held(part, out):
        clear(part)
        try:
            yield part
            part.rename(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


@contextlib.contextmanager
def held(folder: Path, out: Path, what: str = "another process") -> Iterator[None]:
    """`folder` is made and locked; the lock ends with the process, and what is empty when the block ends is removed.

    Args:
        folder: what is written.
        out: what it becomes; the same folder where it is written in its place.
        what: who else may hold it.

    Raises:
        CompressionError: another process holds it, or has just finished, it is a symbolic link, or would lie in a file.
    """
    existing = existing_parent(folder)
    if folder != out:
        refuse_link(folder)
        refuse_existing(out)
    if not existing.is_dir():
        raise CompressionError(f"{out}: {existing} is a file; name another folder")
    removable = folder != out or not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not _lock(descriptor, folder):
            raise CompressionError(f"{out}: {what} is writing it; wait until it ends, or name another folder")
        if folder != out:
            refuse_existing(out)
        yield
    finally:
        os.close(descriptor)
        for place in (folder.absolute(), *folder.absolute().parents) if removable else ():
            if place == existing:
                break
            with contextlib.suppress(OSError):
                place.rmdir()


def refuse_existing(out: Path) -> None:
    """Refuse a result that is there already, be it a link to nothing.

    Raises:
        CompressionError: naming it.
    """
    if out.exists() or out.is_symlink():
        raise CompressionError(f"{out} exists already; remove it or name another folder")


def clear(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove what is in it, but for the names to keep; a link goes, and what it points to stays."""
    for entry in folder.iterdir():
        if entry.name not in keep or entry.is_symlink():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _lock(descriptor: int, folder: Path) -> bool:
    """False where another process has it; systems without such locks hold nothing."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems
        logger.warning("%s: its file system has no locks (%s), so a second process is not noticed", folder, error.strerror)
        return True
    try:
        # Whoever held it may have removed it between the opening and the lock.
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except OSError:
        return False
