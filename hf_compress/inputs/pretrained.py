"""What transformers loads by a name, refused in one sentence where it does not load."""

from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.checkpoints.location import folder_of


def from_pretrained(auto_class: Any, name: str, key: str, **arguments: Any) -> Any:
    """`auto_class.from_pretrained`, refused in one sentence; code in checkpoints is never run.

    Args:
        auto_class: an Auto class of transformers.
        name: a folder or Hub id.
        key: what the refusal names.
        **arguments: passed on.

    Raises:
        CompressionError: there is nothing by that name, or it does not load.
    """
    folder = folder_of(name, key)
    try:
        return auto_class.from_pretrained(name if folder is None else str(folder), trust_remote_code=False, **arguments)
    except Exception as error:  # files, formats and the Hub client each raise their own kind
        where = " is not a local folder and" if folder is None else ""
        raise CompressionError(f"{key}: {name}{where} cannot be loaded: {reason_of(error)}") from error
