"""Labels: what the data calls them, which ids they get, and whether a trained classifier means the same."""

from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.auto_classes import classes_of
from hf_compress.inputs.sections import Data
from hf_compress.inputs.wrong_rows import Wrong, refuse_rows

if TYPE_CHECKING:
    from datasets import Dataset

    Splits = dict[str, Dataset]


def check_classes(classes: Sequence[str]) -> None:
    """Refuse names that a recipe gives to classes, and that tell none apart.

    Raises:
        CompressionError: one is there twice or empty, or is the only one.
    """
    for name in classes:
        if not name.strip():
            raise CompressionError("classes has an empty name; name every class, in the order of their ids")
        if list(classes).count(name) > 1:
            raise CompressionError(f"classes names {name!r} twice; name each class once, in the order of their ids")
    if len(classes) == 1:
        raise CompressionError(f"classes has one name only ({classes[0]}); name two or more, or leave it out")


def require_named(splits: "Splits", column: str, data: Data, classes: Sequence[str]) -> None:
    """Refuse labels of a stream whose names stand neither in the recipe nor in the data.

    Raises:
        CompressionError: at `task.classes`.
    """
    if data.streaming and not classes and not hasattr(_one(splits["train"].features[column]), "names"):
        raise CompressionError(
            "task.classes: is missing: which labels a stream has is not known before its end; write classes: [neg, pos]"
        )


class LabelIds(dict[Any, int]):
    """Label value -> id; refuses what was not known before, which a stream may have behind the rows that were checked.

    Attributes:
        key: the task's field that names the column.
    """

    key = "label"

    def __missing__(self, value: Any) -> int:
        raise CompressionError(
            f"task.{self.key}: the label {value!r} is none of the known ones ({_listed(list(map(str, self)))}); add it to"
            " task.classes, or remove the row"
        )


def label_names(
    splits: "Splits", column: str, max_train: int | None = None, key: str = "label", classes: Sequence[str] = ()
) -> list[str]:
    """The labels in the order in which the data numbers them; text is sorted, bare numbers are LABEL_0, LABEL_1, ...

    Args:
        splits: raw rows by split.
        column: with one label in a row, or a list of them.
        max_train: at most so many rows are in training, which a refusal then says.
        key: the task's field that names the column.
        classes: the recipe's names, which win.

    Raises:
        CompressionError: a label is none of `classes`; without them: labels are neither named classes nor whole numbers
            from 0 nor text, a number is left out, rows are unlabelled (-1), evaluation has a new one, or there is only one.
    """
    if classes:
        refuse_rows(splits, f"task.{key}", lambda split: _others(split, column, classes))
        return list(classes)
    feature = _one(splits["train"].features[column])
    found = {name: _values(split, column) for name, split in splits.items()}
    values = found["train"]
    if any(not isinstance(value, int | str) for value in set().union(*found.values())):
        raise CompressionError(
            f"task.{key}: column {column!r} holds {feature}; labels are text, class names, true and false, or whole"
            " numbers from 0"
        )
    refuse_rows(splits, f"task.{key}", lambda split: _no_classes(split, column))
    if hasattr(feature, "names"):
        names = list(feature.names)
        for name, split in splits.items():
            if list(getattr(_one(split.features[column]), "names", ())) != names:
                raise CompressionError(
                    f"task.{key}: the {name} split numbers its labels in another way than training; write both with the"
                    " same class names in the same order"
                )
    else:
        way_out = "add such rows to the training data" + _maybe_cut_off(max_train)
        others = {name: split for name, split in splits.items() if name != "train"}
        refuse_rows(others, f"task.{key}", lambda split: _new(split, column, values, way_out))
        if all(isinstance(value, bool) for value in values):
            names = [str(value).lower() for value in sorted(values)]
        elif all(isinstance(value, int) for value in values):
            absent = sorted(set(range(max(values) + 1)) - values)
            if absent:
                raise CompressionError(
                    f"task.{key}: labels go up to {max(values)} and {absent[0]} never occurs in training; number them from"
                    " 0 without gaps, or store them as text" + _maybe_cut_off(max_train)
                )
            names = unnamed_labels(len(values))
        else:
            names = sorted(values)
    if not names:
        raise CompressionError(f"task.{key}: column {column!r} has no labels; every list in it is empty")
    if len(names) < 2:
        raise CompressionError(
            f"task.{key}: column {column!r} has one label only ({names[0]}); two or more are needed: add rows, or write"
            " all names as task.classes"
        )
    return names


def _others(split: "Dataset", column: str, classes: Sequence[str]) -> Iterator[Wrong]:
    """Labels that are none of the recipe's classes: no name of theirs, and no number below how many there are."""
    own = getattr(_one(split.features[column]), "names", None)
    meant: dict[Any, Any] = {} if own is None else dict(enumerate(own))
    numbers = range(len(classes)) if own is None else ()
    others = {value for value in _values(split, column) if meant.get(value, value) not in (*classes, *numbers)}
    for row, value in _rows_with(split, column, others):
        says = f"has the label {meant.get(value, value)!r}, which is none of the classes {_listed(list(classes))}"
        yield Wrong(position=row, says=says, way_out="add it to them, or remove the row")


def _no_classes(split: "Dataset", column: str) -> Iterator[Wrong]:
    """Rows with numbers below 0, or of no class name."""
    names: list[str] | None = getattr(_one(split.features[column]), "names", None)
    numbers = {value for value in _values(split, column) if isinstance(value, int)}
    for row, value in _rows_with(split, column, {value for value in numbers if value < 0}):
        says = f"has the label {value}, which means unlabelled or is a mistake"
        yield Wrong(position=row, says=says, way_out="remove it, labels count from 0")
    if names is None:
        return
    for row, value in _rows_with(split, column, {value for value in numbers if value >= len(names)}):
        says = f"has the label {value}, and the column names {len(names)} classes, which count from 0"
        yield Wrong(position=row, says=says, way_out="remove it, or write the data with all its class names")


def _new(split: "Dataset", column: str, values: Container[Any], way_out: str) -> Iterator[Wrong]:
    """Rows with labels that are not among `values`."""
    for row, value in _rows_with(split, column, {value for value in _values(split, column) if value not in values}):
        yield Wrong(position=row, says=f"has the label {value!r}, which training has not", way_out=way_out)


def _rows_with(split: "Dataset", column: str, values: Container[Any]) -> Iterator[tuple[int, Any]]:
    """Rows that have one of some labels, and the first that they have."""
    if not values:
        return
    for row, given in enumerate(split[column]):
        found = [value for value in (given if isinstance(given, list) else [given]) if value in values]
        if found:
            yield row, found[0]


def _values(split: "Dataset", column: str) -> set[Any]:
    """What occurs; the members of lists."""
    if not isinstance(split.features[column], _list_features()):
        return set(split.unique(column))
    import pyarrow.compute

    lists = split.with_format("arrow")[:][column]
    return set(pyarrow.compute.unique(pyarrow.compute.list_flatten(lists)).to_pylist())


def _one(feature: Any) -> Any:
    """What a list holds."""
    return feature.feature if isinstance(feature, _list_features()) else feature


def _list_features() -> tuple[Any, ...]:
    from datasets import LargeList, List

    return List, LargeList


def unnamed_labels(num_labels: int) -> list[str]:
    """What transformers calls labels of which only the number is known."""
    return [f"LABEL_{index}" for index in range(num_labels)]


def _maybe_cut_off(max_train: int | None) -> str:
    return "" if max_train is None else f" (data.max_train={max_train} leaves rows out; a larger one may help)"


def label_ids(
    splits: "Splits", column: str, names: list[str], classes: Sequence[str] = (), key: str = "label"
) -> dict[Any, int]:
    """Label value -> id, where the label `names[i]` has the id i; numbers that `names` does not have are ids already.

    Args:
        splits: raw rows by split.
        column: see `label_names`.
        names: in the order of their ids.
        classes: the recipe's names.
        key: the task's field that names the column.
    """
    feature = _one(splits["train"].features[column])
    own = getattr(feature, "names", None) or list(classes) or label_names(splits, column)
    by_name = not hasattr(feature, "names") and "string" in feature.dtype
    ids = LabelIds(
        {name if by_name else value: names.index(name) if name in names else value for value, name in enumerate(own)}
    )
    ids.key = key
    return ids


def order_labels(labels: list[str], base: Any, model: str, auto_class: Any, trained_anew: bool) -> list[str]:
    """The data's labels in the order of a classifier that is trained already, so that an id means what it meant.

    Args:
        labels: as the data orders them.
        base: the config of the checkpoint.
        model: its folder or Hub id, for refusals.
        auto_class: the task's Auto class; a checkpoint without such a head knows no labels.
        trained_anew: a dense stage comes first and can teach the head a new meaning.

    Raises:
        CompressionError: the classifier was trained for other labels.
    """
    heads = {cls.__name__ for cls in classes_of(auto_class, base)}
    if not heads & set(getattr(base, "architectures", None) or ()):
        return labels
    own = [base.id2label[index] for index in range(len(base.id2label))]
    if len(own) != len(labels):
        raise CompressionError(
            f"model: {model} classifies {len(own)} labels ({_listed(own)}) and the data has {len(labels)}"
            f" ({_listed(labels)}); name data with the model's labels (all as task.classes, where some do not occur),"
            " or a model without a classifier"
        )
    if unnamed_labels(len(own)) in (labels, own):
        return own if labels == unnamed_labels(len(own)) else labels
    ids = {name.casefold(): index for index, name in enumerate(own)}
    if {label.casefold() for label in labels} == set(ids):
        return sorted(labels, key=lambda label: ids[label.casefold()])
    if trained_anew:
        return labels
    raise CompressionError(
        f"model: {model} classifies {_listed(own)} and the data {_listed(labels)}, so an id has two meanings; rename"
        " the data's labels to the model's, or train the head first with `dense: {}`"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
