"""Where examples come from: a built-in source, local files or the Hub, by split."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._paths import expand
from hf_compress._registry import unknown
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.inputs.data_files import ending_of, silent
from hf_compress.inputs.local_data import load_local
from hf_compress.inputs.sections import Data
from hf_compress.inputs.split_names import assign

if TYPE_CHECKING:
    from datasets import Dataset

_BUILTIN = "builtin:"


def is_builtin(path: str) -> bool:
    """True for data that comes with the package or with Python."""
    return path.startswith(_BUILTIN)


def is_local(path: str) -> bool:
    """True for what can only be a file or folder: it exists, is written like a path, or has a data file's ending."""
    return expand(path, "data.path").exists() or not is_hub_id(path) or ending_of(path) is not None


def open_source(data: Data) -> dict[str, Any]:
    """Data sets by split, as they are; `train` is among them. IterableDatasets where the data is streamed.

    Raises:
        CompressionError: the source is missing, unreadable or of an unknown format.
    """
    if data.name is not None and (data.path.startswith(_BUILTIN) or is_local(data.path)):
        raise CompressionError(f"data.name: {data.name!r} is for Hub data sets, and {data.path} is not one; leave it out")
    if data.splits and (data.path.startswith(_BUILTIN) or ending_of(data.path) is not None):
        raise CompressionError(f"data.splits: {data.path} has no splits that could be named; name a folder or leave it out")
    splits: dict[str, Any]
    if data.streaming and data.path.startswith(_BUILTIN):
        raise CompressionError(f"data.streaming: {data.path} is in memory and takes no streaming; leave it out")
    if data.path.startswith(_BUILTIN):
        splits = _load_builtin(data.path.removeprefix(_BUILTIN))
    elif is_local(data.path):
        path = expand(data.path, "data.path")
        try:
            splits = load_local(path, data.splits, data.streaming)
        except OSError as error:
            reason = error.strerror or error
            raise CompressionError(f"data.path: {error.filename or path} cannot be read: {reason}") from error
    else:
        splits = _load_hub(data)
    if "train" not in splits:
        raise CompressionError(f"data.path: {data.path} has no train split (found: {', '.join(splits) or 'none'})")
    return splits


def folder_of_names(data: Data) -> Path | None:
    """The folder that names of files in the data are relative to; None where it lies on no disk of the user's."""
    if data.path.startswith(_BUILTIN) or not is_local(data.path):
        return None
    path = expand(data.path, "data.path")
    return path if path.is_dir() else path.parent


def named(data: Data, sources: Mapping[str, Any], split: str) -> str:
    """A split that was read, in words: the data itself where it has no other."""
    return data.path if len(sources) == 1 else f"the {split} split of {data.path}"


def _load_builtin(name: str) -> dict[str, "Dataset"]:
    from datasets import Dataset

    if name != "pydoc":
        raise CompressionError(f"data.path: {unknown('built-in data', _BUILTIN + name, [_BUILTIN + 'pydoc'])}")
    from hf_compress.inputs.builtin_pydoc import pydoc_documents

    return {
        split: Dataset.from_dict({"name": list(documents), "text": list(documents.values())})
        for split, documents in pydoc_documents().items()
    }


def _load_hub(data: Data) -> dict[str, Any]:
    from datasets import load_dataset

    try:
        with silent():
            loaded = load_dataset(data.path, data.name, streaming=data.streaming)
    except Exception as error:  # the Hub client raises many kinds; each means: cannot be had
        reason = reason_of(error)
        raise CompressionError(
            f"data.path: {data.path!r} is not a local file or folder, and the Hub data set could not be loaded: {reason}"
        ) from error
    chosen = assign(map(str, loaded), data.splits, data.path, whole=True)
    return {split: loaded[names[0]] for split, names in chosen.items()}
