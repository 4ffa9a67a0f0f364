"""What a row costs in several models: time, in turns, and multiplications."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._forward.macs import count_macs
from hf_compress._kinds import CheckedKinds
from hf_compress.evaluation.cost.rounds import time_rounds
from hf_compress.evaluation.cost.timings import synchronizer
from hf_compress.inputs.batches import forward_inputs
from hf_compress.tasks.opened import Opened


@dataclass(frozen=True, kw_only=True)
class Latency(metaclass=CheckedKinds):
    """How members and ensemble are timed.

    Attributes:
        rows: the first of a split, one by one; as a batch there are as many as the recipe's batch has, or more.
        rounds: that are measured; every round has every model once.
        warmup: rounds before.
    """

    rows: int = 8
    rounds: int = 7
    warmup: int = 1

    def __post_init__(self) -> None:
        if self.rows < 1 or self.rounds < 1 or self.warmup < 0:
            raise CompressionError(
                f"rows={self.rows} and rounds={self.rounds} must be 1 or more, and warmup={self.warmup} 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A model that is timed.

    Attributes:
        name: in the result.
        model: in eval mode, where it is measured.
        opened: what makes its rows.
    """

    name: str
    model: Any
    opened: Opened


def milliseconds(models: Sequence[Timed], split: str, batch_size: int, latency: Latency) -> dict[str, dict[str, float]]:
    """Milliseconds of a row: of each batch the median over the rounds, then their mean.

    The models take turns at every call, so each finds the processor's caches as another model left them. Called again and
    again alone, a small model is faster by a fifth, and no ensemble asks that way.

    Args:
        models: in turns in every round.
        split: whose first rows are read.
        batch_size: of the second measurement; the first is of single rows.
        latency: how many rows, how often.

    Returns:
        Model -> batch size, as text -> milliseconds.
    """
    found: dict[str, dict[str, float]] = {one.name: {} for one in models}
    for size in dict.fromkeys((1, batch_size)):
        num_rows = latency.rows if size == 1 else max(latency.rows, size)
        batches = {one.name: _first(one, split, size, num_rows) for one in models}
        total = {name: sum(len(next(iter(batch.values()))) for batch in own) for name, own in batches.items()}
        spent = dict.fromkeys(batches, 0.0)
        for place in range(len(batches[models[0].name])):
            calls = {one.name: _caller(one.model, batches[one.name][place]) for one in models}
            with torch.no_grad():
                seconds = time_rounds(calls, latency.rounds, latency.warmup, synchronizer(models[0].model.device))
            for name, given in seconds.items():
                spent[name] += statistics.median(given)
        for name, own in found.items():
            own[str(size)] = 1000 * spent[name] / total[name]
    return found


def macs_of_row(model: Any, opened: Opened, split: str, batch_size: int) -> float:
    """MACs of a row, the mean of the first batch of a split with the padding that it has; see `count_macs`."""
    (batch,) = _first(Timed(name="", model=model, opened=opened), split, batch_size, batch_size)
    return count_macs(model, batch) / len(next(iter(batch.values())))


def _first(one: Timed, split: str, batch_size: int, num_rows: int) -> list[dict[str, Any]]:
    """The first rows in batches, as the model reads them."""
    examples = one.opened.examples[split]
    some = examples.select(range(min(num_rows, len(examples))))
    batches = one.opened.task.batches(some, one.opened.processor, batch_size)
    return [forward_inputs(batch, one.model, one.opened.task.generates) for batch in batches]


def _caller(model: Any, batch: dict[str, Any]) -> Callable[[], None]:
    def call() -> None:
        model(**batch)

    return call
