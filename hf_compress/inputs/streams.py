"""Training rows that are read while they are trained on: what is looked at before, and the stream itself."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.inputs.row_numbers import NUMBER, NamingRows, number_feature, numbered, source_of
from hf_compress.inputs.sections import SPLITS, Data
from hf_compress.inputs.sources import named

if TYPE_CHECKING:
    from datasets import Dataset, Features

logger = logging.getLogger(__name__)

HEAD = 1000
"""Rows at the beginning of a stream that are looked at before training."""
BUFFER = 1000
"""Rows among which the next one is drawn."""


def is_stream(rows: Any) -> bool:
    """Whether rows have neither a number nor an order to be asked for."""
    from datasets import IterableDataset

    return isinstance(rows, IterableDataset)


def mapped(
    rows: Any, function: Callable[..., Mapping[str, Any]], split: str, batch_size: int = 1000, **options: Any
) -> Any:
    """What a function of a batch of rows makes of all of them, in the place of their columns; of a stream when it is read.

    Args:
        rows: a Dataset, or an IterableDataset.
        function: columns -> columns, of another length perhaps; its refusals are of one row, which is named here.
        split: its name, for the progress bar and for refusals.
        batch_size: rows at once.
        **options: of `map`, such as `with_indices`; those of a stream are the order in which it is read.
    """
    own: dict[str, Any] = {"batched": True, "batch_size": batch_size, "remove_columns": rows.column_names, **options}
    naming = NamingRows(function, source_of(rows.features, split))
    return rows.map(naming, **own) if is_stream(rows) else rows.map(naming, **own, desc=f"tokenizing {split}")


def read_heads(data: Data, sources: Mapping[str, Any], seed: int) -> dict[str, "Dataset"]:
    """The first rows of `train`, and all rows of the other splits, or `max_eval` that are drawn near their beginning.

    A split that is missing is cut from the beginning of the training rows.

    Args:
        data: the recipe's.
        sources: streams, `train` among them.
        seed: of what is drawn.

    Raises:
        CompressionError: there are no rows, or nothing says how many become a missing split.
    """
    cut = _num_cut(data, sources)
    wanted = cut + min(HEAD, data.max_train or HEAD)
    rows = numbered(_rows(sources["train"], wanted, f"{data.path} (train)"), named(data, sources, "train"))
    if len(rows) <= cut:
        needed = f"; the first {cut} become the missing splits (data.max_eval={data.max_eval})" if cut else ""
        raise CompressionError(f"data.path: the train split of {data.path} has {len(rows)} rows{needed}; add rows")
    splits = {"train": rows.select(range(cut, len(rows)))}
    taken = 0
    for name in ("validation", "test"):
        if name in sources:
            limit = data.max_eval
            near = _rows(sources[name], None if limit is None else max(limit, BUFFER), f"{data.path} ({name})")
            near = numbered(near, named(data, sources, name))
            splits[name] = near if limit is None or len(near) <= limit else near.shuffle(seed=seed).select(range(limit))
        else:
            splits[name] = rows.select(range(taken, taken + int(data.max_eval or 0)))
            taken += len(splits[name])
        if len(splits[name]) == 0:
            raise CompressionError(f"data.path: the {name} split of {data.path} is empty; every split needs rows")
    return {name: splits[name] for name in SPLITS}


def training_stream(
    data: Data,
    sources: Mapping[str, Any],
    seed: int,
    features: "Features",
    prepare: Callable[[Any], Any] = lambda stream: stream,
    check: Callable[["Dataset"], None] = lambda rows: None,
) -> Any:
    """The training rows, behind those that were cut off, drawn from BUFFER at a time; one pass.

    Args:
        data: the recipe's.
        sources: streams, `train` among them.
        seed: of what is drawn.
        features: of its head, for a source that does not say them.
        prepare: what is done to rows before they are looked at.
        check: looks at some of them, and raises where something is wrong.
    """
    stream = prepare(_numbered_stream(sources["train"], features, named(data, sources, "train")))
    stream = stream.map(_Looking(check, stream.features), batched=True, features=stream.features)
    cut = _num_cut(data, sources)
    stream = stream.skip(cut) if cut else stream
    stream = stream if data.max_train is None else stream.take(data.max_train)
    return stream.shuffle(seed=seed, buffer_size=BUFFER)


def _numbered_stream(stream: Any, features: "Features", source: str) -> Any:
    """The rows with their places, or None where they lie in several files, whose order is drawn; images stay files."""
    from datasets import Features, Image

    own = Features({name: feature for name, feature in features.items() if name != NUMBER})
    stream = stream.cast(own) if stream.features is None else stream
    images = [name for name, feature in stream.features.items() if isinstance(feature, Image)]
    for name in images:
        stream = stream.cast_column(name, Image(decode=False))
    with_number = Features({**stream.features, NUMBER: number_feature(source)})
    options = {"features": with_number, "fn_kwargs": {"known": stream.num_shards == 1}}
    return stream.map(_add_numbers, batched=True, with_indices=True, **options)


def _add_numbers(batch: Mapping[str, Any], numbers: list[int], known: bool) -> dict[str, Any]:
    return {**batch, NUMBER: numbers if known else [None] * len(numbers)}


class _Looking:
    """A batch of a stream as it is, looked at as the first rows were.

    Args:
        check: see `training_stream`.
        features: of the rows.
    """

    def __init__(self, check: Callable[["Dataset"], None], features: "Features") -> None:
        self.check, self.features = check, features

    def __call__(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        from datasets import Dataset

        self.check(Dataset.from_dict(dict(batch), features=self.features))
        return batch


@contextlib.contextmanager
def reading_late(data: Data) -> Iterator[None]:
    """Training: what a later row is refused for is a sentence, whoever refuses it.

    Raises:
        CompressionError: the stream cannot be read on, or a worker of a DataLoader has refused a row.
    """
    import pandas.errors
    import pyarrow
    from datasets.exceptions import DatasetsError
    from datasets.table import CastError

    try:
        yield
    except CompressionError as error:
        own = f"{CompressionError.__name__}: "
        if not str(error).startswith("Caught ") or own not in str(error):
            raise
        raise CompressionError(str(error).rpartition(own)[2].strip()) from error  # torch puts a traceback before it
    except (CastError, DatasetsError, pyarrow.ArrowException, pandas.errors.ParserError) as error:
        if not data.streaming:
            raise
        raise CompressionError(
            f"data.path: behind its first rows, which were checked, {data.path} cannot be read: {reason_of(error)}; mend"
            " the data and start again"
        ) from error


def describe_stream(head: "Dataset") -> dict[str, str]:
    """What a log and a report say of it."""
    looked = f"the first {len(head):,} rows are checked" if len(head) >= HEAD else "all rows are checked"
    return {"stream": f"{looked}; each row is drawn from {BUFFER:,}, and behind the end it begins again in the same order"}


def _num_cut(data: Data, sources: Mapping[str, Any]) -> int:
    """Rows of the beginning that become missing splits."""
    missing = [name for name in ("validation", "test") if name not in sources]
    if missing and data.max_eval is None:
        raise CompressionError(
            f"data.max_eval: is missing: {data.path} has no {missing[0]} split, and a stream no number of rows to take a"
            f" share of; write max_eval: 500, so many rows of its beginning become the {missing[0]} split, or name it in"
            " data.splits"
        )
    return len(missing) * (data.max_eval or 0)


def _rows(stream: Any, count: int | None, what: str) -> "Dataset":
    """The first rows of a stream, or all; images stay files.

    Raises:
        CompressionError: they cannot be read.
    """
    from datasets import Dataset, Image

    images = [name for name, feature in (stream.features or {}).items() if isinstance(feature, Image)]
    for name in images:
        stream = stream.cast_column(name, Image(decode=False))
    try:
        rows = Dataset.from_list(list(stream if count is None else stream.take(count)), features=stream.features)
    except Exception as error:  # files, archives and the Hub each fail in their own way
        raise CompressionError(f"data.path: {what} cannot be read: {reason_of(error.__cause__ or error)}") from error
    for name in images:
        rows = rows.cast_column(name, Image())
    return rows
