"""Paths as recipes write them."""

from pathlib import Path

from hf_compress._errors import CompressionError


def expand(path: str, key: str) -> Path:
    """A path with `~` resolved, as TrainingArguments resolves it for checkpoints.

    Args:
        path: as the recipe says it.
        key: what a refusal names.

    Raises:
        CompressionError: it starts with the home of a user who does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise CompressionError(f"{key}: {path} starts with the home of a user who does not exist; write it out") from error
