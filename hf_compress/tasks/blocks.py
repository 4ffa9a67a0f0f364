"""Documents put one behind the other and cut into blocks."""

from collections.abc import Callable, Mapping
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.streams import is_stream, mapped
from hf_compress.tasks.task import Splits


def packed(splits: Splits, length: int, documents: Callable[[Mapping[str, list[Any]]], Mapping[str, list[int]]]) -> Splits:
    """Blocks of `length` tokens; the last, shorter one of every 1000 rows is dropped.

    Args:
        splits: raw rows.
        length: tokens of a block.
        documents: rows -> columns, each the tokens (labels, ...) of all of them in one list.

    Raises:
        CompressionError: a split has not one block.
    """

    def pack(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        columns = documents(batch)
        num_tokens = min(map(len, columns.values()))
        starts = range(0, num_tokens - length + 1, length)
        return {name: [tokens[start : start + length] for start in starts] for name, tokens in columns.items()}

    blocks = {name: mapped(split, pack, name) for name, split in splits.items()}
    for name, split in blocks.items():
        if not is_stream(split) and len(split) == 0:
            raise CompressionError(
                f"task.length: the {name} split has fewer than {length} tokens; choose a shorter length or add text"
            )
    return blocks
