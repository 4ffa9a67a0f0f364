"""Which row of the user's data is meant, wherever rows were shuffled, cut off or left out on the way to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._problems import problems_of

if TYPE_CHECKING:
    from datasets import Dataset, Features

NUMBER = "__row_number__"
"""The column of raw rows with their numbers in what was read, from 0; the feature's id says what that was."""


def number_feature(source: str) -> Any:
    """The feature of the column; `source` is what the rows were read from, in words."""
    from datasets import Value

    return Value("int64", id=source)


def numbered(rows: "Dataset", source: str) -> "Dataset":
    """The rows with their numbers, which stay with them."""
    import numpy

    return rows.add_column(NUMBER, numpy.arange(len(rows)), feature=number_feature(source))  # type: ignore[call-arg]


def own_columns(rows: Any) -> list[str]:
    """The columns that the data itself has."""
    return [name for name in rows.column_names or () if name != NUMBER]


def source_of(features: "Features | None", split: str) -> str:
    """What the rows of a split were read from; without numbers, the split."""
    return getattr((features or {}).get(NUMBER), "id", None) or f"the {split} split"


def row_named(number: int | None, source: str) -> str:
    """A row in words; None is one of a stream, whose place is not known."""
    return f"a row of {source}" if number is None else f"row {number} (counted from 0) of {source}"


class NamingRows:
    """A function of a batch of rows, whose refusals name the first row that it refuses.

    Args:
        function: columns -> columns, of each row by itself.
        source: what the rows were read from.
    """

    def __init__(self, function: Callable[..., Any], source: str) -> None:
        self.function, self.source = function, source

    def __call__(self, batch: Mapping[str, Sequence[Any]], *numbers: Sequence[int], **options: Any) -> Any:
        """What the function makes of the batch.

        Raises:
            CompressionError: the function's, with the row.
        """
        try:
            return self.function(batch, *numbers, **options)
        except CompressionError as error:
            refusal = error
        for position in range(len(next(iter(batch.values()), ()))):
            one = slice(position, position + 1)
            try:
                self.function({name: batch[name][one] for name in batch}, *[part[one] for part in numbers], **options)
            except CompressionError as error:
                refusal = self._named(error, batch[NUMBER][position] if NUMBER in batch else None)
                break
        raise refusal

    def _named(self, error: CompressionError, number: int | None) -> CompressionError:
        row = row_named(number, self.source)
        lines = [f"{one.path}: {row}: {one.message}" if one.path else f"{row}: {one.message}" for one in problems_of(error)]
        return CompressionError("\n".join(lines))
