"""Splits from local files and folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.inputs.data_files import ENDINGS, ending_of, read_files, silent
from hf_compress.inputs.media import METADATA, load_media, media_of
from hf_compress.inputs.split_names import assign, say_unread, says_split


def load_local(path: Path, wanted: Mapping[str, str], streaming: bool = False) -> dict[str, Any]:
    """The splits of a file or folder; what has no names of splits is `train`.

    Args:
        path: a data file; a folder of data files, of images, of sounds, or that `save_to_disk` wrote.
        wanted: `data.splits`.
        streaming: they are IterableDatasets.

    Raises:
        CompressionError: there is nothing, or it cannot be read.
        OSError: the system refuses.
    """
    if not path.exists():
        hint = "; a name is no pattern: name the folder, of which all data files are read" if "*" in str(path) else ""
        raise CompressionError(f"data.path: there is no file or folder {path}{hint}")
    if path.is_file():
        if ending_of(path) is None:
            raise CompressionError(f"data.path: {path} has an unknown ending; known: {ENDINGS}")
        return {"train": read_files([path], streaming)}
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return _load_saved(path, wanted, streaming)
    files = _data_files(path)
    if all(ending_of(file) == ".txt" for file in files):  # beside images a text file says what they are
        media = media_of(path)
        if media is not None:
            return load_media(path, media, wanted, streaming)
    if not files:
        raise CompressionError(
            f"data.path: the folder {path} has no data files, images or sounds; known endings: {ENDINGS}"
        )
    names = {file: _own_name(file, path) for file in files}
    chosen = assign(names.values(), wanted, str(path)) or {"train": list(names.values())}
    say_unread(str(path), [file.name for file in files if not any(names[file] in own for own in chosen.values())])
    return {
        split: read_files([file for file in files if names[file] in own], streaming, split) for split, own in chosen.items()
    }


def _data_files(folder: Path) -> list[Path]:
    """The data files of a folder; where it has none itself, those of the folders in it."""
    for files in (folder.iterdir(), folder.rglob("*")):
        found = sorted(file for file in files if _is_data(file.relative_to(folder)) and file.is_file())
        if found:
            return found
    return []


def _is_data(file: Path) -> bool:
    return ending_of(file) is not None and file.name not in METADATA and not any(part[0] == "." for part in file.parts)


def _own_name(file: Path, folder: Path) -> str:
    """train-00000-of-00002.csv.gz -> train; of a name that says no split, the folder's that does."""
    own = re.sub(r"-\d+-of-\d+$", "", file.name[: file.name.rindex(str(ending_of(file)))])
    return next((name for name in (own, *reversed(file.relative_to(folder).parts[:-1])) if says_split(name)), own)


def _load_saved(path: Path, wanted: Mapping[str, str], streaming: bool) -> dict[str, Any]:
    """What `save_to_disk` wrote: one data set, or several by name."""
    from datasets import Dataset, load_from_disk

    try:
        with silent():
            saved = load_from_disk(str(path))
    except Exception as error:  # JSON, Arrow and features each fail in their own way
        raise CompressionError(f"data.path: {path}, written by save_to_disk, cannot be read: {reason_of(error)}") from error
    if isinstance(saved, Dataset):
        assign([], wanted, str(path))
        splits = {"train": saved}
    else:
        chosen = assign(map(str, saved), wanted, str(path), whole=True)
        splits = {split: saved[names[0]] for split, names in chosen.items()}
    return {split: rows.to_iterable_dataset() if streaming else rows for split, rows in splits.items()}
