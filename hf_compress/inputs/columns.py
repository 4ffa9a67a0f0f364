"""Columns that a task reads: that they are there, and hold what it reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.inputs.audio import is_sound
from hf_compress.inputs.row_numbers import NUMBER, own_columns
from hf_compress.inputs.wrong_rows import Wrong, refuse_rows

if TYPE_CHECKING:
    from datasets import Dataset

    Splits = dict[str, Dataset]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: the task's field that names it.
        name: as the data calls it.
        feature: what it holds, as a feature of `datasets`: Value("string"), Value("int64") for whole numbers, ClassLabel(),
            Image(), Audio() for sound in any form that `inputs.audio` reads, a List of one of these, or a dict of them with
            the keys that are read; a tuple of such features where it may hold any of them.
    """

    key: str
    name: str
    feature: Any

    def check(self, splits: "Splits", path: str) -> None:
        """Refuse data without the column, with something else in it, or with rows in which it is empty.

        Args:
            splits: raw rows by split.
            path: what the data is called in refusals.

        Raises:
            CompressionError: at `task.<key>`.
        """
        for split_name, split in splits.items():
            columns = own_columns(split)
            if self.name not in columns:
                raise CompressionError(
                    f"task.{self.key}: "
                    + unknown(f"column of the {split_name} split of {path}", self.name, columns)
                    + _maybe_other_separator(columns)
                )
        refuse_rows(splits, f"task.{self.key}", lambda split: self._empty(split, None))
        for split_name, split in splits.items():
            given = split.features[self.name]
            if not _holds(given, self.feature):
                # Json is what `datasets` makes of values without a type in common.
                held = "values of several kinds" if "Json(" in str(given) else given
                raise CompressionError(
                    f"task.{self.key}: column {self.name!r} of the {split_name} split of {path} holds"
                    f" {held}{_expected(self.feature)}"
                )
        refuse_rows(splits, f"task.{self.key}", lambda split: self._empty(split, self.feature))

    def _empty(self, split: "Dataset", wanted: Any) -> Iterator[Wrong]:
        """Rows of a split in which the column is null; with a wanted feature, in which something inside it is."""
        import numpy

        rows = _null_rows(split.data.column(self.name), wanted)
        if len(rows) and NUMBER in split.column_names:  # the table also has what was cut off from the split
            numbers = split.data.column(NUMBER).to_numpy()[rows]
            rows = numpy.flatnonzero(numpy.isin(split.with_format("numpy")[NUMBER][:], numbers))
        says = f"is empty (null) in the column {self.name!r}" if wanted is None else f"has a gap (null) in {self.name!r}"
        yield from (Wrong(position=int(row), says=says, way_out="remove it") for row in rows)


def _maybe_other_separator(columns: list[str]) -> str:
    """The end of the sentence about rows with one column whose name looks like several."""
    if len(columns) == 1 and any(mark in columns[0] for mark in ",;|\t"):
        return "; a .csv file has commas between its columns, and a .tsv file tabs"
    return ""


def _holds(given: Any, wanted: Any) -> bool:
    """Whether a column's feature is of the wanted kind; labels may also be numbers or text, which their reader checks."""
    from datasets import Audio, ClassLabel, LargeList, List, Value

    if isinstance(wanted, tuple):
        return any(_holds(given, one) for one in wanted)
    if isinstance(wanted, dict):
        return isinstance(given, dict) and all(key in given and _holds(given[key], one) for key, one in wanted.items())
    if isinstance(wanted, List):
        return isinstance(given, List | LargeList) and _holds(given.feature, wanted.feature)
    if isinstance(wanted, Audio):
        return isinstance(given, Audio) or is_sound(given)
    if isinstance(wanted, ClassLabel):
        return isinstance(given, ClassLabel | Value)
    if isinstance(wanted, Value):
        kind = wanted.dtype.rstrip("0123456789")  # whole numbers of any size
        return isinstance(given, Value) and given.dtype.removeprefix("large_").startswith(kind)
    return isinstance(given, type(wanted))


def _null_rows(column: Any, wanted: Any) -> Any:
    """The rows of a column that are null, or have a null in lists and under the keys that are read, each once."""
    import numpy

    begins = numpy.cumsum([0, *map(len, column.chunks)])
    found = [_null_places(chunk, wanted) + begin for chunk, begin in zip(column.chunks, begins[:-1], strict=True)]
    return numpy.unique(numpy.concatenate(found)) if found else numpy.empty(0, dtype=numpy.int64)


def _null_places(values: Any, wanted: Any) -> Any:
    """The same of one array."""
    import numpy
    import pyarrow.compute
    from datasets import List

    found: list[Any] = [numpy.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))]
    if isinstance(wanted, tuple):
        plain = not pyarrow.types.is_nested(values.type)
        wanted = next(one for one in wanted if plain is not isinstance(one, dict | List))
    if isinstance(wanted, List):
        inside = _null_places(pyarrow.compute.list_flatten(values), wanted.feature)
        found.append(pyarrow.compute.list_parent_indices(values).to_numpy(zero_copy_only=False)[inside])
    elif isinstance(wanted, dict):
        found += [_null_places(pyarrow.compute.struct_field(values, key), one) for key, one in wanted.items()]
    return numpy.concatenate(found).astype(numpy.int64)


def _expected(feature: Any) -> str:
    """The end of the sentence about a column of another kind."""
    from datasets import Audio, ClassLabel, Image

    if isinstance(feature, ClassLabel):
        return "; a row has one label, which is text, a class name or a whole number from 0"
    if isinstance(feature, Audio):
        return ", not sound: paths, bytes, {bytes, path} or {array, sampling_rate}"
    if isinstance(feature, Image):
        return ", not images; write the files with datasets after cast_column(..., datasets.Image())"
    if isinstance(feature, tuple):
        return ", neither " + " nor ".join(map(_named, feature))
    return f", not {_named(feature)}"


def _named(feature: Any) -> str:
    """What a column holds, in words."""
    from datasets import ClassLabel, List, Value

    if isinstance(feature, List):
        return f"lists of {_named(feature.feature)}"
    if isinstance(feature, dict):
        return "{" + ", ".join(feature) + "}"
    if isinstance(feature, ClassLabel):
        return "labels"
    if isinstance(feature, Value):
        return {"string": "text", "int64": "whole numbers", "float64": "numbers"}.get(feature.dtype, feature.dtype)
    return str(feature)
