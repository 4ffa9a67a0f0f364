"""Paths as recipes write them."""

import contextlib
from pathlib import Path

from hf_compress._errors import CompressionError


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
