"""Examples from a built-in source, local files or the Hub, as three splits."""

import contextlib
import glob
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._paths import expand
from hf_compress._registry import unknown
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.inputs.sections import SPLITS, Data

if TYPE_CHECKING:
    from datasets import Dataset

_FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".txt": "text"}
_ALIASES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_BUILTIN = "builtin:"


def is_local(path: str) -> bool:
    """True for what can only be a file or folder: it exists, is written like a path, or has a data file's ending."""
    return expand(path, "data.path").exists() or not is_hub_id(path) or Path(path).suffix in _FORMATS


def load_splits(data: Data, seed: int) -> dict[str, "Dataset"]:
    """The raw splits `train`, `validation` and `test`.

    A missing validation or test split is cut from the training rows, by `seed`.

    Raises:
        CompressionError: the source is missing, empty, unreadable or of an unknown format.
    """
    if data.name is not None and (data.path.startswith(_BUILTIN) or is_local(data.path)):
        raise CompressionError(f"data.name: {data.name!r} is for Hub data sets, and {data.path} is not one; leave it out")
    if data.splits and (data.path.startswith(_BUILTIN) or Path(data.path).suffix in _FORMATS):
        raise CompressionError(f"data.splits: {data.path} has no splits that could be named; name a folder or leave it out")
    if data.path.startswith(_BUILTIN):
        splits = _load_builtin(data.path.removeprefix(_BUILTIN))
    elif is_local(data.path):
        path = expand(data.path, "data.path")
        try:
            splits = _load_files(path, data.splits)
        except OSError as error:
            reason = error.strerror or error
            raise CompressionError(f"data.path: {error.filename or path} cannot be read: {reason}") from error
    else:
        splits = _load_hub(data)
    for split, name in data.splits.items():
        if split not in splits:
            raise CompressionError(f"data.splits: {data.path} has no split {name!r}, which should be {split}")
    if "train" not in splits:
        raise CompressionError(f"data.path: {data.path} has no train split (found: {', '.join(splits) or 'none'})")
    for name in ("test", "validation"):
        if name not in splits:
            if len(splits["train"]) < 3:
                raise CompressionError(
                    f"data.path: {data.path} has {len(splits['train'])} rows, too few to cut a {name} split from them; add"
                    " rows, or files named train, validation and test"
                )
            size = max(1, round(data.validation_share * len(splits["train"])))
            parts = splits["train"].train_test_split(test_size=size, seed=seed)
            splits["train"], splits[name] = parts["train"], parts["test"]
    for name, limit in (("train", data.max_train), ("validation", data.max_eval), ("test", data.max_eval)):
        if limit is not None and len(splits[name]) > limit:
            splits[name] = splits[name].shuffle(seed=seed).select(range(limit))
        if len(splits[name]) == 0:
            raise CompressionError(f"data.path: the {name} split of {data.path} is empty; every split needs rows")
    return {name: splits[name] for name in SPLITS}


def _load_builtin(name: str) -> dict[str, "Dataset"]:
    from datasets import Dataset

    if name != "pydoc":
        raise CompressionError(f"data.path: {unknown('built-in data', _BUILTIN + name, [_BUILTIN + 'pydoc'])}")
    from hf_compress.inputs.builtin_pydoc import pydoc_documents

    return {
        split: Dataset.from_dict({"name": list(documents), "text": list(documents.values())})
        for split, documents in pydoc_documents().items()
    }


def _load_files(path: Path, named: dict[str, str]) -> dict[str, "Dataset"]:
    if not path.exists():
        raise CompressionError(f"data.path: there is no file or folder {path}")
    if path.is_dir():
        if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
            raise CompressionError(
                f"data.path: {path} was written by save_to_disk, which other libraries cannot read; write its splits with"
                " to_parquet to files named train, validation and test"
            )
        files = sorted(file for file in path.iterdir() if file.suffix in _FORMATS and file.is_file())
        if not files:
            raise CompressionError(f"data.path: the folder {path} has no data files; known endings: {', '.join(_FORMATS)}")
        by_split: dict[str, list[Path]] = {}
        for file in files:
            split = _split_of(file, named)
            if split is not None:
                by_split.setdefault(split, []).append(file)
        if not by_split:
            by_split = {"train": files}
    elif path.suffix in _FORMATS:
        by_split = {"train": [path]}
    else:
        raise CompressionError(f"data.path: {path} has an unknown ending; known: {', '.join(_FORMATS)}")
    return {split: _read(members) for split, members in by_split.items()}


def _split_of(file: Path, named: dict[str, str]) -> str | None:
    """train-00000-of-00002.parquet -> train; None for a name that says nothing. What the recipe names wins."""
    own = re.sub(r"-\d+-of-\d+$", "", file.stem)
    chosen = next((split for split, name in named.items() if name == own), None)
    if chosen is not None:
        return chosen
    word = re.split("[-_.]", own.lower())[0]
    found = next((split for split, names in _ALIASES.items() if word in names), None)
    return None if found in named else found


def _read(files: list[Path]) -> "Dataset":
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    kinds = {_FORMATS[file.suffix] for file in files}
    if len(kinds) > 1:
        raise CompressionError(f"data.path: {files[0].parent} mixes {' and '.join(sorted(kinds))} files; keep one kind")
    for file in files:
        if _is_empty(file):
            raise CompressionError(f"data.path: the file {file} is empty; it needs rows")
        if "::" in str(file):
            raise CompressionError(f"data.path: {file} cannot be read: datasets takes '::' for an archive; rename it")
    options: dict[str, Any] = {"sample_by": "paragraph"} if kinds == {"text"} else {}
    try:
        with _silent():
            # A name is a name: `datasets` would read data[1].jsonl as a pattern, and other files than it.
            names = [glob.escape(str(file)) for file in files]
            return load_dataset(kinds.pop(), data_files=names, split="train", **options)
    except (DatasetGenerationError, ValueError, OSError, StopIteration) as error:
        reason = reason_of(error.__cause__ or error)
        raise CompressionError(f"data.path: {', '.join(map(str, files))} cannot be read: {reason}") from error


def _is_empty(file: Path) -> bool:
    """True for no bytes, nothing but white space, and for a parquet file without rows."""
    if file.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        with contextlib.suppress(pyarrow.ArrowInvalid):  # not parquet; reading it will say so
            return file.stat().st_size == 0 or pyarrow.parquet.read_metadata(file).num_rows == 0
        return False
    with file.open("rb") as stream:
        return not stream.read(2**16).strip()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep `datasets` from logging an error that is about to be refused in one sentence."""
    import datasets

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)


def _load_hub(data: Data) -> dict[str, "Dataset"]:
    from datasets import load_dataset

    try:
        with _silent():
            loaded = load_dataset(data.path, data.name)
    except Exception as error:  # the Hub client raises many kinds; each means: cannot be had
        reason = reason_of(error)
        raise CompressionError(
            f"data.path: {data.path!r} is not a local file or folder, and the Hub data set could not be loaded: {reason}"
        ) from error
    splits = {}
    for split, names in _ALIASES.items():
        names = (data.splits[split],) if split in data.splits else names
        found = next((name for name in names if name in loaded), None)
        if found is not None:
            splits[split] = loaded[found]
    return splits
