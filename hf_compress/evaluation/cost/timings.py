"""Models in turns, over runtimes, batches and lengths."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError, reason_of
from hf_compress._quiet import quiet
from hf_compress.evaluation.cost.batches import batch_of
from hf_compress.evaluation.cost.configuration import Cost
from hf_compress.evaluation.cost.decoding import prompt_of, time_tokens
from hf_compress.evaluation.cost.report import Timing
from hf_compress.evaluation.cost.rounds import p95_of, speedup, time_rounds
from hf_compress.evaluation.cost.runtime import Prepared, Runtime


@dataclass(kw_only=True)
class Loaded:
    """A model that is measured.

    Attributes:
        name: what it is.
        model: loaded, and run once.
        writes: it writes tokens one after the other.
        prepare_s: runtime -> seconds that preparing it took; filled by `time_models`.
    """

    name: str
    model: Any
    writes: bool
    prepare_s: dict[str, float] = field(default_factory=dict)


def time_models(models: Sequence[Loaded], cost: Cost, lengths: Sequence[int | None], device: torch.device) -> list[Timing]:
    """Everything that `cost` asks for; the first model is the baseline of the others.

    Raises:
        CompressionError: a runtime does not take a model.
    """
    found: list[Timing] = []
    for runtime in cost.runtimes:
        prepared = {one.name: _prepare(runtime, one, lengths[0]) for one in models}
        for batch_size in cost.batch:
            for length in lengths:
                for one in prepared.values():
                    one.anew()
                batches = {one.name: batch_of(one.model, batch_size, length) for one in models}
                found += _passes(runtime, prepared, batches, cost, device)
                writers = {one.name: prepared[one.name] for one in models if one.writes and prepared[one.name].model}
                if writers and cost.new_tokens:
                    found += _tokens(runtime, writers, batches, cost, device)
    return found


def _prepare(runtime: Runtime, one: Loaded, length: int | None) -> Prepared:
    begin = time.perf_counter()
    with quiet():
        prepared = runtime.prepare(one.model, batch_of(one.model, 2, length))
    one.prepare_s[runtime.name] = time.perf_counter() - begin
    return prepared


def _passes(
    runtime: Runtime,
    prepared: Mapping[str, Prepared],
    batches: Mapping[str, Mapping[str, Tensor]],
    cost: Cost,
    device: torch.device,
) -> Iterator[Timing]:
    synchronize = synchronizer(device)

    def caller(name: str) -> Callable[[], Any]:
        return lambda: prepared[name].call(batches[name])

    calls = {name: caller(name) for name in prepared}
    first: dict[str, float] = {}
    for name, call in calls.items():
        begin = time.perf_counter()
        try:
            call()
        except Exception as error:  # each runtime fails in its own way
            raise CompressionError(
                f"runtimes: {runtime.name} does not run {name} ({reason_of(error)}); leave it out"
            ) from error
        synchronize()
        first[name] = time.perf_counter() - begin
    seconds = time_rounds(calls, cost.rounds, cost.warmup, synchronize)
    yield from _timings(runtime, "forward", seconds, batches, first)


def _tokens(
    runtime: Runtime,
    prepared: Mapping[str, Prepared],
    batches: Mapping[str, Mapping[str, Tensor]],
    cost: Cost,
    device: torch.device,
) -> Iterator[Timing]:
    synchronize = synchronizer(device)
    first: dict[str, list[float]] = {name: [] for name in prepared}
    later: dict[str, list[float]] = {name: [] for name in prepared}

    def writer(name: str) -> Callable[[], None]:
        def write() -> None:
            begin, rest = time_tokens(prepared[name].model, prompt_of(batches[name]), cost.new_tokens, synchronize)
            first[name].append(begin)
            later[name].append(rest)

        return write

    # One round warms up: it is new_tokens passes long.
    time_rounds({name: writer(name) for name in prepared}, cost.rounds, min(cost.warmup, 1))
    for what, seconds in (("first token", first), ("next token", later)):
        yield from _timings(runtime, what, {name: given[-cost.rounds :] for name, given in seconds.items()}, batches)


def _timings(
    runtime: Runtime,
    what: str,
    seconds: Mapping[str, Sequence[float]],
    batches: Mapping[str, Mapping[str, Tensor]],
    first: Mapping[str, float] | None = None,
) -> Iterator[Timing]:
    baseline = next(iter(seconds))
    for name, given in seconds.items():
        rows = len(next(iter(batches[name].values())))
        yield Timing(
            model=name,
            runtime=runtime.name,
            what=what,
            batch=rows,
            inputs={key: tuple(value.shape) for key, value in batches[name].items()},
            first_s=first[name] if first else None,
            median_s=statistics.median(given),
            p95_s=p95_of(given),
            per_s=rows / statistics.median(given),
            speedup=None if name == baseline else speedup(given, seconds[baseline]),
        )


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Waits until a device is done; a processor is when its call is."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None
