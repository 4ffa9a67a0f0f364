"""What a full, read-only or failing disk says through many libraries, said as one sentence."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from hf_compress._errors import CompressionError
from hf_compress._units import format_bytes

DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENAMETOOLONG}
)
"""What the system says of a disk; other errors of a file are left as they are."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What it says of a full one."""
_TORCH = ("unexpected pos", "iostream error", "file write failed", "PytorchStreamWriter failed")
"""`torch.save` gives no number."""
AGAIN = "run the same command again"


class DiskError(CompressionError):
    """The system could not write or read; what is written already is good.

    Args:
        problem: what, and where.
        way_out: what to do.
        again: what goes on then; an outer block may know better.
    """

    def __init__(self, problem: str, way_out: str, again: str = "") -> None:
        self.problem, self.way_out, self.again = problem, way_out, again
        super().__init__(f"{problem}; {way_out} {again}".rstrip())


@contextlib.contextmanager
def disk_errors(folder: Path, again: str = AGAIN, every: bool = False) -> Iterator[None]:
    """What the system says about disks, said as a refusal.

    Args:
        folder: what is being written; named where the system names no file.
        again: what goes on once there is space.
        every: also for errors that need not be the disk's, such as a file that is not there.

    Raises:
        DiskError: a full or failing disk, a file that cannot be read or written.
    """
    try:
        yield
    except DiskError as error:
        raise DiskError(error.problem, error.way_out, again if error.again else "") from error
    except OSError as error:
        if not every and error.errno not in DISK:
            raise
        raise disk_error(Path(os.fsdecode(error.filename)) if _names_file(error) else folder, error, again) from error
    except Exception as error:  # tokenizers, safetensors and torch say it in exceptions of their own
        found = _number(str(error))
        if found is None:
            raise
        raise disk_error(folder, OSError(found, os.strerror(found) if found else ""), again) from error
    except BaseException as error:  # what processes that write shards together raise is no Exception
        reasons = getattr(error, "failures", {}).values()
        full = next((one for one, _ in reasons if isinstance(one, OSError) and one.errno in DISK), None)
        if full is None:
            raise
        raise disk_error(folder, full, again) from error


def disk_error(path: Path, error: OSError, again: str = AGAIN) -> DiskError:
    """The refusal of one error of the system."""
    mended = "once this is mended,"
    if error.errno == 0:
        return DiskError(f"{path}: the disk is full or cannot be written to", mended, again)
    if error.errno in FULL:
        return DiskError(f"{path}: the disk is full", "free some space and", again)
    return DiskError(f"{path}: {error.strerror or error}", mended, again)


def require_space(folder: Path, num_bytes: int) -> None:
    """Refuse what cannot fit before anything is written.

    Raises:
        DiskError: with both sizes.
    """
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free < num_bytes:
        raise DiskError(
            f"{folder}: the disk has {format_bytes(free)} free and the result needs {format_bytes(num_bytes)}",
            "free some space or name another place",
        )


def _names_file(error: OSError) -> bool:
    return isinstance(error.filename, str | bytes)


def _number(text: str) -> int | None:
    """The errno in a message, 0 where it gives none, None where it is not about a disk."""
    found = re.search(r"os error (\d+)", text)
    if found is not None and int(found[1]) in DISK:
        return int(found[1])
    return 0 if any(words in text for words in _TORCH) else None
