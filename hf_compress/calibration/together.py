"""Batches of a model that no process can run alone."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hf_compress import _distributed


def run_together(batches: Iterable[Mapping[str, Any]], sharded: bool) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """This process's batches. The forward of a sharded model is one of all processes, so each has as many as the longest:
    one without a batch of its own runs another's, and does not count it.

    Args:
        batches: this process's own.
        sharded: the model is.

    Yields:
        A batch, and whether it counts.
    """
    if not sharded:
        yield from ((one, True) for one in batches)
        return
    own = iter(batches)
    while True:
        batch = next(own, None)
        has = _distributed.gather(batch is not None)
        if not any(has):
            return
        given: list[Mapping[str, Any]] = []
        if not all(has):
            given = [one for one in _distributed.gather(batch) if one is not None]
        if batch is not None:
            yield batch, True
        else:
            yield given[0], False
