"""The raw splits of a recipe's data: what is there is used, what is missing is cut."""

from typing import TYPE_CHECKING, Literal

from hf_compress._errors import CompressionError, reason_of
from hf_compress.inputs.row_numbers import numbered
from hf_compress.inputs.sections import SPLITS, Data
from hf_compress.inputs.sources import named, open_source
from hf_compress.inputs.streams import read_heads

if TYPE_CHECKING:
    from datasets import Dataset

Measured = Literal["test", "validation", "train", "all"]
"""Which rows a finished model is measured on: a split as a training has it, or every row of the data."""


def check_seed(seed: int) -> None:
    """Refuse what not every generator takes.

    Raises:
        CompressionError: naming the range.
    """
    if not 0 <= seed < 2**32:
        raise CompressionError(f"seed={seed} must lie between 0 and 2**32 - 1")


def load_splits(data: Data, seed: int) -> dict[str, "Dataset"]:
    """The raw splits `train`, `validation` and `test`; of a stream the first rows of `train`.

    A missing validation or test split is cut from the training rows, by `seed`.

    Raises:
        CompressionError: the source is missing, empty, unreadable or of an unknown format.
    """
    check_seed(seed)
    splits = open_source(data)
    if data.streaming:
        return read_heads(data, splits, seed)
    splits = {name: numbered(splits[name], named(data, splits, name)) for name in SPLITS if name in splits}
    for name in ("test", "validation"):
        if name not in splits:
            if len(splits["train"]) < 3:
                raise CompressionError(
                    f"data.path: {data.path} has {len(splits['train'])} rows, too few to cut a {name} split from them; add"
                    " rows, or files named train, validation and test"
                )
            size = max(1, round(data.validation_share * len(splits["train"])))
            parts = splits["train"].train_test_split(test_size=size, seed=seed)
            splits["train"], splits[name] = parts["train"], parts["test"]
    for name, limit in (("train", data.max_train), ("validation", data.max_eval), ("test", data.max_eval)):
        if limit is not None and len(splits[name]) > limit:
            splits[name] = splits[name].shuffle(seed=seed).select(range(limit))
        if len(splits[name]) == 0:
            raise CompressionError(f"data.path: the {name} split of {data.path} is empty; every split needs rows")
    return {name: splits[name] for name in SPLITS}


HeldOut = Literal["held_out"]
"""Both splits that a training keeps back, under their own names."""


def load_measured(data: Data, measured: Measured | HeldOut, seed: int) -> dict[str, "Dataset"]:
    """The rows that a finished model is measured on as `test`, beside `train`, which says the names of labels.

    A split is that of `load_splits`, so the rows are those of a training's report; for "all" nothing is cut. Held out are
    `validation` and `test`, each under its name.

    Raises:
        CompressionError: see `load_splits`.
    """
    check_seed(seed)
    if measured != "all":
        splits = load_splits(data, seed)
        return splits if measured == "held_out" else {"train": splits["train"], "test": splits[measured]}
    from datasets import concatenate_datasets

    source = open_source(data)
    parts = [numbered(rows, named(data, source, name)) for name, rows in source.items() if name in SPLITS and len(rows)]
    if not parts:
        raise CompressionError(f"data.path: {data.path} is empty; a model is measured on rows")
    try:
        rows = concatenate_datasets(parts)
    except ValueError as error:
        raise CompressionError(
            f"split: the splits of {data.path} have other columns than one another ({reason_of(error)}); measure one of"
            " train, validation and test"
        ) from error
    if data.max_eval is not None and len(rows) > data.max_eval:
        rows = rows.shuffle(seed=seed).select(range(data.max_eval))
    return {"train": rows, "test": rows}
