"""Folders that are written: whole or not there, held by one process, and never through a symbolic link."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hf_compress._disk import FULL, disk_error, disk_errors
from hf_compress._errors import CompressionError

logger = logging.getLogger(__name__)


_TRIAL = ".hf-compress-"
"""Begins the name of a folder that is made to see whether one can be."""


def check_place(out: Path) -> None:
    """Refuse a folder that cannot be made.

    Raises:
        CompressionError: it exists, would lie in a file, or the system makes no folder or no file there.
    """
    with place_errors(out):
        refuse_existing(out)
        writable_part(out)
        refuse_link(part_of(out))
        _try(out if part_of(out).exists() else part_of(out))


def try_place(out: Path) -> None:
    """Refuse a folder in which nothing can be written, be it there or not; see `_try`.

    Raises:
        CompressionError: the system makes no folder or no file there, or a link is in the way.
    """
    with place_errors(out):
        _try(out)


def _try(out: Path) -> None:
    """Make what is missing of `out` and a file in it, under another name, and remove both.

    What the system would say cannot be asked otherwise: it grants root the right to write into /proc, a group of processes
    takes folders but no files, and a name may be too long in a folder that is not there yet.
    """
    existing = writable_part(out)
    made = [Path(tempfile.mkdtemp(prefix=_TRIAL, dir=existing))]
    try:
        for name in out.absolute().relative_to(existing).parts:
            folder = made[-1] / name
            folder.mkdir(exist_ok=True)  # "..", where it is one of the names
            made.append(folder)
        file = made[-1] / "file"
        made.append(file)
        file.write_bytes(b"1")  # some systems make any file and take no content
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()


def is_trial(path: Path) -> bool:
    """Whether another process is just trying this place."""
    return path.name.startswith(_TRIAL)


def make_folder(folder: Path) -> None:
    """Make it and those above where they are missing: all or, where the system refuses one, none.

    Raises:
        CompressionError: the system makes none there.
    """
    with place_errors(folder):
        if not folder.exists():
            _try(folder)
        folder.mkdir(parents=True, exist_ok=True)


def writable_part(out: Path) -> Path:
    """The nearest folder that exists, `out` itself among them.

    Raises:
        CompressionError: it is a file, cannot be written to, or a link to nothing lies between it and `out`.
    """
    with place_errors(out):
        existing = out.absolute() if out.exists() else existing_parent(out)
        is_folder = existing.is_dir()
    if not is_folder:
        inside = "" if existing == out.absolute() else f", and {out} would lie in it"
        raise CompressionError(f"{existing} is a file{inside}; name another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise CompressionError(f"{existing} cannot be written to; name a folder that can")
    if existing != out.absolute():
        refuse_link(out.absolute(), below=existing)
    return existing


@contextlib.contextmanager
def place_errors(out: Path) -> Iterator[None]:
    """What the system says of a place where it makes no folder, said as a refusal."""
    try:
        yield
    except CompressionError:
        raise
    except (OSError, ValueError) as error:  # a null byte is no error of the system's
        reason = error.strerror if isinstance(error, OSError) else error
        shown = str(out).replace("\0", "\\0")
        shown = shown if len(shown) <= 160 else f"{shown[:80]}...{shown[-40:]}"
        if isinstance(error, OSError) and error.errno in FULL:
            raise disk_error(Path(shown), error) from error
        raise CompressionError(f"{shown}: no folder can be written there ({reason}); name another place") from error


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
        if any(part.iterdir()):
            logger.warning("%s: what a run that was stopped left half written is removed, and it is begun again", out)
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
    with place_errors(out):
        existing = existing_parent(folder)
        if folder != out:
            refuse_link(folder)
            refuse_existing(out)
        writable_part(out)
        removable = folder != out or not folder.exists()
        make_folder(folder)
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
