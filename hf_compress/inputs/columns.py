"""Columns that a task reads: that they are there, and hold what it reads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.inputs.audio import is_sound

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
            the keys that are read.
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
            if self.name not in split.column_names:
                raise CompressionError(
                    f"task.{self.key}: "
                    + unknown(f"column of the {split_name} split of {path}", self.name, split.column_names)
                )
            of = f"task.{self.key}: column {self.name!r} of the {split_name} split of {path}"
            empty = split.data.column(self.name).null_count
            if empty:
                raise CompressionError(f"{of} is empty (null) in {empty} rows; remove them")
            given = split.features[self.name]
            if not _holds(given, self.feature):
                raise CompressionError(f"{of} holds {given}{_expected(self.feature)}")


def _holds(given: Any, wanted: Any) -> bool:
    """Whether a column's feature is of the wanted kind; labels may also be numbers or text, which their reader checks."""
    from datasets import Audio, ClassLabel, LargeList, List, Value

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


def _expected(feature: Any) -> str:
    """The end of the sentence about a column of another kind."""
    from datasets import Audio, ClassLabel, Image, Value

    if isinstance(feature, ClassLabel):
        return "; a row has one label, which is text, a class name or a whole number from 0"
    if isinstance(feature, Audio):
        return ", not sound: paths, bytes, {bytes, path} or {array, sampling_rate}"
    if isinstance(feature, Image):
        return ", not images; write the files with datasets after cast_column(..., datasets.Image())"
    if isinstance(feature, Value) and feature.dtype == "string":
        return ", not text"
    return f", not {feature}"
