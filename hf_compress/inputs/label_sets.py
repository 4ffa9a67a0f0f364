"""Several labels for a row: as a list of those that hold, or as a 0 or a 1 for each."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hf_compress.inputs.labels import label_ids, label_names, unnamed_labels
from hf_compress.inputs.streams import is_stream
from hf_compress.inputs.wrong_rows import Wrong, refuse_rows

if TYPE_CHECKING:
    from datasets import Dataset

    Splits = dict[str, Dataset]


def set_names(splits: "Splits", column: str, max_train: int | None = None, classes: Sequence[str] = ()) -> list[str]:
    """The labels in the order of their ids; those of a column of 0 and 1 are LABEL_0, LABEL_1, ...

    Args:
        splits: raw rows by split.
        column: lists of labels, or of a 0 or 1 for each label, equally many in every row of every split.
        max_train: at most so many rows are in training, which a refusal then says.
        classes: the recipe's names, which win.

    Raises:
        CompressionError: see `label_names`; or a row has a label twice.
    """
    width = _width(splits, column, classes)
    if width is not None:
        return list(classes) or unnamed_labels(width)
    refuse_rows(splits, "task.label", lambda split: _twice(split, column))
    return label_names(splits, column, max_train, classes=classes)


def _twice(split: "Dataset", column: str) -> Iterator[Wrong]:
    """Rows that have a label more than once."""
    way_out = (
        "a list names each label that holds once, and a column of 0 and 1 has equally many in every row of every split"
    )
    for row, labels in enumerate(split[column]):
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            yield Wrong(position=row, says=f"has the label {twice!r} twice", way_out=way_out)


def set_encoder(
    splits: "Splits", column: str, names: list[str], classes: Sequence[str] = ()
) -> Callable[[Sequence[Any]], list[float]]:
    """Function of a row's labels to a 0.0 or 1.0 for each of `names`."""
    if _width(splits, column, classes) is not None:
        return lambda labels: [float(label) for label in labels]
    ids = label_ids(splits, column, names, classes)

    def encode(labels: Sequence[Any]) -> list[float]:
        held = {ids[label] for label in labels}
        return [float(id in held) for id in range(len(names))]

    return encode


def _width(splits: "Splits", column: str, classes: Sequence[str]) -> int | None:
    """How many labels there are, where every row says 0 or 1 of each; None where rows name their labels."""
    import pyarrow.compute

    lengths: set[int] = set()
    values: set[Any] = set()
    for split in splits.values():
        if is_stream(split):  # the others are as wide, or the rows at its beginning were refused
            continue
        if hasattr(split.features[column].feature, "names"):
            return None
        lists = split.with_format("arrow")[:][column]
        lengths |= set(pyarrow.compute.unique(pyarrow.compute.list_value_length(lists)).to_pylist())
        values |= set(pyarrow.compute.unique(pyarrow.compute.list_flatten(lists)).to_pylist())
    width = max(lengths) if len(lengths) == 1 and max(lengths) > 1 and values <= {0, 1} else None
    return width if not classes or width == len(classes) else None
