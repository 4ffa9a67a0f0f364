"""Data files, read by the builders of `datasets`."""

import contextlib
import glob
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of

_BUILDERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("parquet", {}),
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".txt": ("text", {"sample_by": "paragraph"}),
}
_PACKED = (".gz", ".bz2", ".xz", ".zst")
"""Behind the ending of a file of text; parquet is compressed inside."""

ENDINGS = f"{', '.join(_BUILDERS)}, of text also with {', '.join(_PACKED)} behind them"


def ending_of(file: str | Path) -> str | None:
    """What says how a data file is read; None for any other file."""
    path = Path(file)
    packed = path.suffix in _PACKED
    ending = Path(path.stem).suffix if packed else path.suffix
    return ending if ending in _BUILDERS and not (packed and ending == ".parquet") else None


def read_files(files: Sequence[Path], streaming: bool = False, split: str = "train") -> Any:
    """The rows of data files, one behind the other: a Dataset, or an IterableDataset for a stream.

    Args:
        files: of one kind.
        streaming: as a stream.
        split: what the rows say that they are.

    Raises:
        CompressionError: they are of several kinds, empty or broken.
    """
    endings = sorted({str(ending_of(file)) for file in files})
    builder, options = _BUILDERS[endings[0]]
    if any(_BUILDERS[ending] != (builder, options) for ending in endings):
        raise CompressionError(f"data.path: {files[0].parent} mixes {' and '.join(endings)} files; keep one kind")
    for file in files:
        if _is_empty(file):
            raise CompressionError(f"data.path: the file {file} is empty; it needs rows")
    names = [escaped(file) for file in files]
    what = ", ".join(map(str, files))
    return build_splits(builder, {split: names}, what, streaming=streaming, **options)[split]


def escaped(path: Path) -> str:
    """A name as a pattern that matches it alone: `datasets` would read data[1].jsonl as one, and other files than it.

    Raises:
        CompressionError: there is no such pattern.
    """
    if "::" in str(path):
        raise CompressionError(f"data.path: {path} cannot be read: datasets takes '::' for an archive; rename it")
    return glob.escape(str(path))


def build_splits(builder: str, files: Mapping[str, Sequence[str]], what: str, **options: Any) -> Any:
    """What a builder of `datasets` makes of patterns of files, by split.

    Raises:
        CompressionError: they cannot be read, with the reason that `datasets` gives.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    try:
        with silent():
            return load_dataset(builder, data_files={split: list(names) for split, names in files.items()}, **options)
    except (DatasetGenerationError, ValueError, OSError, StopIteration, ImportError) as error:
        raise CompressionError(f"data.path: {what} cannot be read: {reason_of(error.__cause__ or error)}") from error


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
def silent() -> Iterator[None]:
    """Keep `datasets` from logging an error that is about to be refused in one sentence."""
    import datasets

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
