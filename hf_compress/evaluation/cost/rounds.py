"""Seconds of calls that take turns, and what they say."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

FEWEST = 6
"""Rounds below which nothing can be said with 95 % confidence."""


def time_rounds(
    calls: Mapping[str, Callable[[], object]], rounds: int, warmup: int, synchronize: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of every call in every round.

    Each round has every call once, and each round begins with another one, so what happens to the machine in the meantime
    happens to all of them.

    Args:
        calls: by name.
        rounds: that are measured.
        warmup: rounds before, which are not.
        synchronize: waits until the device is done; run before and after each call.

    Returns:
        Name -> one number for each round, in their order.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            synchronize()
            begin = time.perf_counter()
            calls[name]()
            synchronize()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def p95_of(seconds: Sequence[float]) -> float:
    """The smallest of them that 95 % of them do not exceed (nearest rank)."""
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """How often one call fits into the time of another, round by round.

    Attributes:
        median: of the rounds' quotients.
        low, high: an interval for it that holds in at least 95 of 100 cases, whatever the distribution (order statistics,
            the sign test turned around).
    """

    median: float
    low: float
    high: float

    @property
    def faster(self) -> bool:
        """Whether the rounds show that it is."""
        return self.low > 1


def speedup(seconds: Sequence[float], baseline: Sequence[float]) -> Speedup:
    """Of a call over a baseline that took turns with it.

    Args:
        seconds: of each round.
        baseline: of the same rounds; `FEWEST` or more.
    """
    quotients = sorted(other / own for own, other in zip(seconds, baseline, strict=True))
    rank = _rank(len(quotients))
    return Speedup(median=statistics.median(quotients), low=quotients[rank], high=quotients[-1 - rank])


def _rank(count: int) -> int:
    """Places left out at each end: P(fewer than that many of `count` fair coins show heads) stays within 2.5 %."""
    tail, rank = 0.0, 0
    while (tail := tail + math.comb(count, rank) / 2**count) <= 0.025:
        rank += 1
    return max(rank - 1, 0)
