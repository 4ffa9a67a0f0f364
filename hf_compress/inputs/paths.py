"""Paths as recipes write them."""

import contextlib
from pathlib import Path

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place


def expand(path: str, key: str) -> Path:
    """A path with `~` resolved, as TrainingArguments resolves it for checkpoints.

    Args:
        path: as the recipe says it.
        key: what a refusal names.

    Raises:
        CompressionError: it starts with the home of a user who does not exist, or no path can look like that.
    """
    try:
        expanded = Path(path).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            expanded.stat()  # exists() would hide a null byte
    except RuntimeError as error:
        raise CompressionError(f"{key}: {path} starts with the home of a user who does not exist; write it out") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CompressionError(f"{key}: {path[:80]!r} cannot be looked up: {reason}") from error
    return expanded


def check_output_dir(path: str) -> None:
    """Refuse an `output_dir` that is there already or cannot be written.

    Raises:
        CompressionError: at `output_dir`.
    """
    place = expand(path, "output_dir")
    try:
        check_place(place)
    except CompressionError as error:
        raise CompressionError(f"output_dir: {error}") from error
