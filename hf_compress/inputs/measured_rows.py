"""What rows a model was measured on, for those who want to measure it again."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hf_compress.inputs.columns import Column
from hf_compress.inputs.row_hash import row_hash
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import is_builtin, is_local

if TYPE_CHECKING:
    from datasets import Dataset


def measured_rows(data: Data, rows: "Dataset", columns: Iterable[Column]) -> dict[str, Any]:
    """Where rows are from, and their hash.

    Args:
        data: where they were read.
        rows: raw ones.
        columns: what the task reads.

    Returns:
        name: of the data; hub: whether that is one of the Hub's; config: of a Hub data set; split: as the data calls it,
        None where it is not known; whole: whether they are all rows of that split, False also where that is not known;
        num_rows; sha256, see `row_hash`.
    """
    split = None if rows.split is None else str(rows.split)
    sizes = (rows.info.splits or {}) if rows.info is not None else {}
    return {
        "name": data.path,
        "hub": not is_builtin(data.path) and not is_local(data.path),
        "config": data.name,
        "split": split,
        "whole": split in sizes and sizes[split].num_examples == len(rows),
        "num_rows": len(rows),
        "sha256": row_hash(rows, columns),
    }
