"""Columns that name files of images or sounds, as people write them into a table."""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_compress.inputs.columns import Column
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import folder_of_names
from hf_compress.inputs.streams import is_stream


def with_files(rows: Any, columns: Iterable[Column], data: Data) -> Any:
    """The rows with names of files as those files: of images as `datasets.Image`, of sounds as whole paths.

    A relative name is one below the folder of the data, where there is such a file, else from where one stands. Bytes of
    images, and {bytes, path}, become images, too.

    Args:
        rows: raw ones, a Dataset or an IterableDataset; a column that is not there, or holds something else, stays.
        columns: what a task reads.
        data: where the rows come from.
    """
    from datasets import Audio, Features, Image, Value

    for column in columns:
        given = (rows.features or {}).get(column.name)
        images = isinstance(column.feature, Image)
        if not (images or isinstance(column.feature, Audio)) or isinstance(given, Audio):
            continue
        # A stream that does not say what it holds was made to hold images, and its names are inside them.
        if (isinstance(given, Value) and "string" in given.dtype) or (isinstance(given, Image) and is_stream(rows)):
            function = functools.partial(_found, column=column.name, folder=folder_of_names(data))
            feature = Image(decode=False) if images else given
            options = {"batched": True, "features": Features({**rows.features, column.name: feature})}
            if not is_stream(rows):  # which files there are may change from run to run
                options |= {"load_from_cache_file": False, "desc": f"finding the files of {column.name}"}
            rows = rows.map(function, **options)
            given = feature
        files = isinstance(given, Image) or given == Value("binary")
        if images and (files or (isinstance(given, dict) and set(given) == {"bytes", "path"})):
            rows = rows.cast_column(column.name, Image(decode=not is_stream(rows)))
    return rows


def _found(batch: dict[str, list[Any]], column: str, folder: Path | None) -> dict[str, list[Any]]:
    return {**batch, column: [_whole(given, folder) for given in batch[column]]}


def _whole(given: Any, folder: Path | None) -> Any:
    if isinstance(given, dict):
        return {**given, "path": _whole(given["path"], folder)}
    name: str | None = given
    below = None if folder is None or not name or Path(name).is_absolute() else folder / name
    return str(below) if below is not None and below.is_file() else name
