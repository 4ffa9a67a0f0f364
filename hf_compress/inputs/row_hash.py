"""A name for the rows that something was measured on: the same rows have it on every machine, others have another."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress.inputs.columns import Column

if TYPE_CHECKING:
    from datasets import Dataset


def row_hash(rows: "Dataset", columns: Iterable[Column]) -> str:
    """SHA-256 of rows, in hex.

    Each row is one line of JSON with sorted keys and without spaces, in UTF-8, of these columns alone; pictures and sounds
    are the SHA-256 of their file, wherever it lies. The lines stand in the order of the rows, each ended by a line feed.

    Args:
        rows: as they were loaded.
        columns: those that a task reads.
    """
    from datasets import Audio, Image

    wanted = {column.name: column.feature for column in columns if column.name in rows.column_names}
    chosen = rows.select_columns(list(wanted)).with_format(None)
    for name in wanted:
        if isinstance(chosen.features[name], Audio | Image):
            chosen = chosen.cast_column(name, type(chosen.features[name])(decode=False))
    files = {name for name, feature in wanted.items() if isinstance(feature, Audio | Image)}
    digest = hashlib.sha256()
    for row in chosen:
        cells = {name: _file(cell) if name in files else _plain(cell) for name, cell in row.items()}
        line = json.dumps(cells, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A cell without what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _file(cell: Any) -> Any:
    """The hash of a picture or a sound: {bytes, path}, bytes, or the name of a file."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content is None and isinstance(cell, dict):
        content = cell.get("path")
    if isinstance(content, str):
        content = Path(content).read_bytes()
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else _plain(cell)
