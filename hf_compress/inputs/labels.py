"""Labels: what the data calls them, which ids they get, and whether a trained classifier means the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.auto_classes import classes_of
from hf_compress.inputs.sections import Data

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
    """Label value -> id; refuses what was not known before."""

    def __missing__(self, value: Any) -> int:
        raise CompressionError(
            f"task.label: the label {value!r} is none of the known ones ({_listed(list(map(str, self)))}); a stream has it"
            " behind the rows that were checked: add it to task.classes"
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
        for name, split in splits.items():
            _refuse_others(split, column, classes, f"task.{key}: row {{}} of the {name} split")
        return list(classes)
    feature = _one(splits["train"].features[column])
    found = {name: _values(split, column) for name, split in splits.items()}
    values = found["train"]
    if any(not isinstance(value, int | str) for value in set().union(*found.values())):
        raise CompressionError(
            f"task.{key}: column {column!r} holds {feature}; labels are text, class names, true and false, or whole"
            " numbers from 0"
        )
    for name, members in found.items():
        below = sorted(value for value in members if isinstance(value, int) and value < 0)
        if below:
            raise CompressionError(
                f"task.{key}: the {name} split has rows with the label {below[0]}, which means unlabelled or is a mistake;"
                " remove those rows, labels count from 0"
            )
    if hasattr(feature, "names"):
        names = list(feature.names)
        for name, split in splits.items():
            if list(getattr(_one(split.features[column]), "names", ())) != names:
                raise CompressionError(
                    f"task.{key}: the {name} split numbers its labels in another way than training; write both with the"
                    " same class names in the same order"
                )
    else:
        for name in ("validation", "test"):
            new = sorted(found[name] - values, key=str)
            if new:
                raise CompressionError(
                    f"task.{key}: the {name} split has the label {new[0]!r}, which training has not; add such rows to the"
                    " training data" + _maybe_cut_off(max_train)
                )
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
        raise CompressionError(f"task.{key}: column {column!r} has one label only ({names[0]}); two or more are needed")
    return names


def _refuse_others(split: "Dataset", column: str, classes: Sequence[str], of: str) -> None:
    """Refuse a label that is none of the recipe's classes: no name of theirs, and no number below how many there are."""
    own = getattr(_one(split.features[column]), "names", None)
    meant: dict[Any, Any] = {} if own is None else dict(enumerate(own))
    numbers = range(len(classes)) if own is None else ()
    others = {value for value in _values(split, column) if meant.get(value, value) not in (*classes, *numbers)}
    if not others:
        return
    for row, given in enumerate(split[column]):
        for value in given if isinstance(given, list) else [given]:
            if value in others:
                raise CompressionError(
                    f"{of.format(row)} has the label {meant.get(value, value)!r}, which is none of the classes"
                    f" {_listed(list(classes))}; add it to them, or remove the row"
                )


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


def label_ids(splits: "Splits", column: str, names: list[str], classes: Sequence[str] = ()) -> dict[Any, int]:
    """Label value -> id, where the label `names[i]` has the id i; numbers that `names` does not have are ids already.

    Args:
        splits: raw rows by split.
        column: see `label_names`.
        names: in the order of their ids.
        classes: the recipe's names.
    """
    feature = _one(splits["train"].features[column])
    own = getattr(feature, "names", None) or list(classes) or label_names(splits, column)
    by_name = not hasattr(feature, "names") and "string" in feature.dtype
    return LabelIds(
        {name if by_name else value: names.index(name) if name in names else value for value, name in enumerate(own)}
    )


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
            f" ({_listed(labels)}); name data with the model's labels, or a model without a classifier"
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
