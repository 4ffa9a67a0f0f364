"""What transformers loads by a name, refused in one sentence where it does not load."""

from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._safetensors import read_entries, weight_files
from hf_compress.checkpoints.location import folder_of
from hf_compress.checkpoints.weight_files import program_files


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
    import hf_compress.ensembling.modelling.models  # noqa: F401 (transformers knows ensembles from then on)

    folder = folder_of(name, key)
    try:
        return auto_class.from_pretrained(name if folder is None else str(folder), trust_remote_code=False, **arguments)
    except Exception as error:  # files, formats and the Hub client each raise their own kind
        where = " is not a local folder and" if folder is None else ""
        reason = None if folder is None else _wrong(folder)
        raise CompressionError(f"{key}: {name}{where} cannot be loaded: {reason or reason_of(error)}") from error


def _wrong(folder: Path) -> str | None:
    """What is wrong with a folder that did not load, and what to do, where that can be seen; None elsewhere."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return (
            "it holds an adapter and no model; merge it into its base (`hf-compress merge`, with `adapter:` beside the"
            " base's `model:`) and name the result"
        )
    if program_files(folder) and not weight_files(folder):
        return "it holds an exported program and no weights; name the folder of the model that was exported"
    try:
        if weight_files(folder):
            read_entries(folder)
    except CompressionError as error:
        return str(error)
    return None
