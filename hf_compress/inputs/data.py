"""The raw splits of a recipe's data: what is there is used, what is missing is cut."""

from typing import TYPE_CHECKING

from hf_compress._errors import CompressionError
from hf_compress.inputs.row_numbers import numbered
from hf_compress.inputs.sections import SPLITS, Data
from hf_compress.inputs.sources import named, open_source
from hf_compress.inputs.streams import read_heads

if TYPE_CHECKING:
    from datasets import Dataset


def load_splits(data: Data, seed: int) -> dict[str, "Dataset"]:
    """The raw splits `train`, `validation` and `test`; of a stream the first rows of `train`.

    A missing validation or test split is cut from the training rows, by `seed`.

    Raises:
        CompressionError: the source is missing, empty, unreadable or of an unknown format.
    """
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
