"""The k largest of many numbers, exactly, without sorting them and without holding them.

A sample brackets the threshold. One pass over the numbers then counts what lies above the bracket and on its ends, and
collects what lies inside (about 1 % of them), among which the threshold is selected. Every number is counted, none is
estimated, so the result is that of a stable sort, whatever the sample, the chunks and the number of threads. Counts add up
over processes, so that numbers which lie in several of them have one threshold.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from hf_compress._sharding.across import ALONE, Across

SAMPLE = 2**16
"""Numbers that are looked at first, at least; of fewer the threshold is selected directly."""
MARGIN = 4.0
"""Half the width of the searched bracket, in standard errors of the sample's quantile. It decides the speed and never the
result: a bracket that misses is counted, known to miss, and opened to the side where the threshold is."""
_LARGEST_STRIDE = 256

Chunk = Callable[[int], Tensor]
"""Series -> its numbers in this chunk: floating, no NaN, in flat order; the tensor may be changed."""


@dataclass(frozen=True)
class Cut:
    """Which numbers are the k largest; of equal ones those with the lower flat index.

    Attributes:
        threshold: the smallest number that stays; infinite where none does.
        last: flat index of the last number equal to it that stays.
    """

    threshold: float
    last: int

    def mask(self, numbers: Tensor, offset: int = 0) -> Tensor:
        """True for the k largest; any shape.

        Args:
            numbers: all of them, or the part of the flat series that begins at `offset`.
            offset: flat index of the first one.
        """
        split = min(max(self.last + 1 - offset, 0), numbers.numel())
        if split in (0, numbers.numel()):
            return numbers >= self.threshold if split else numbers > self.threshold
        flat = numbers.reshape(-1)
        return torch.cat([flat[:split] >= self.threshold, flat[split:] > self.threshold]).view(numbers.shape)

    def keep(self, vector: Tensor, offset: int) -> Tensor:
        """A new tensor with 0 in place of all but the k largest magnitudes; any shape, fp32. Arguments as for `mask`."""
        split = min(max(self.last + 1 - offset, 0), vector.numel())
        # hardshrink keeps what lies strictly above; above the next smaller float means at the threshold, too.
        below = float(numpy.nextafter(numpy.float32(self.threshold), numpy.float32(0)))
        if split in (0, vector.numel()):
            return torch.hardshrink(vector, below if split else self.threshold)
        flat = vector.reshape(-1)
        parts = torch.hardshrink(flat[:split], below), torch.hardshrink(flat[split:], self.threshold)
        return torch.cat(parts).reshape(vector.shape)


def largest(numbers: Callable[[], Iterable[Tensor]], k: int, size: int, across: Across = ALONE) -> Cut:
    """The k largest of one series.

    Args:
        numbers: gives them anew, in any chunks; of the first chunk come those of each process in turn, then of the second.
        k: 0 ... how many there are, over all processes.
        size: how many there are in this process.
        across: the processes that hold the others.
    """

    def chunks() -> Iterable[Chunk]:
        for part in numbers():
            for piece in across.pieces(part):
                yield lambda _, piece=piece: piece  # type: ignore[misc]

    def sample(_: int, stride: int) -> Tensor:
        # Copies, because a view would keep its chunk.
        return torch.cat([part.reshape(-1)[::stride].clone() for part in numbers()])

    return find_cuts(chunks, [[k]], size, sample, across)[0][0]


def find_cuts(
    chunks: Callable[[], Iterable[Chunk]],
    counts: Sequence[Sequence[int]],
    size: int,
    sample: Callable[[int, int], Tensor],
    across: Across = ALONE,
) -> list[list[Cut]]:
    """The cuts that keep `counts[series]` numbers of each series; all series are searched in the same pass.

    Args:
        chunks: gives the chunks anew.
        counts: for each series how many numbers stay, one or more times.
        size: numbers of a series in this process.
        sample: (series, stride) -> every `stride`-th number of it.
        across: the processes that hold the others.

    Returns:
        For each series one cut per count, in the order given.
    """
    total = across.total(size)
    cuts = {(series, 0): Cut(math.inf, -1) for series in range(len(counts))}
    cuts |= {(series, total): Cut(-math.inf, size - 1) for series in range(len(counts))}
    wanted = [key for key in dict.fromkeys((m, k) for m, ks in enumerate(counts) for k in ks) if key not in cuts]
    stride = min(total // SAMPLE, _LARGEST_STRIDE) | 1  # odd, so that a matrix's columns take turns
    samples = {}
    if total > SAMPLE:
        for series in dict.fromkeys(series for series, _ in wanted):
            samples[series] = across.joined(_on_the_cpu(_numbers(sample(series, stride))))
    searches = {key: _Search(key[1], total, samples.get(key[0]), across) for key in wanted}
    while searches:
        open_series = sorted({series for series, _ in searches})
        sizes: list[int] = []
        for chunk in chunks():
            for series in open_series:
                numbers = _numbers(chunk(series))
                if series == open_series[0]:
                    sizes.append(len(numbers))
                for key, search in searches.items():
                    if key[0] == series:
                        search.add(numbers)
        for (series, k), search in list(searches.items()):
            found = search.finish()
            if found is not None:
                threshold, rank, ties = found
                here = _share(across.table(ties), across.place, rank)
                cuts[series, k] = Cut(threshold, _index_of_tie(chunks, series, sizes, threshold, here, ties))
                del searches[series, k]
    return [[cuts[series, k] for k in ks] for series, ks in enumerate(counts)]


class _Search:
    """Looks for the k-th largest number between `low` and `high`."""

    def __init__(self, k: int, size: int, sample: numpy.ndarray | None, across: Across) -> None:
        self.k, self.across = k, across
        self._open(-math.inf, math.inf)
        if sample is not None:
            middle, share = sample.size * k / size, k / size
            margin = MARGIN * math.sqrt(middle * (1 - share)) + 1
            first, last = math.floor(middle - margin), math.ceil(middle + margin)  # ranks, the largest is 0
            places = [sample.size - 1 - rank for rank in (first, last) if 0 <= rank < sample.size]
            ordered = numpy.partition(sample, places) if places else sample
            self.high = float(ordered[sample.size - 1 - first]) if first >= 0 else math.inf
            self.low = float(ordered[sample.size - 1 - last]) if last < sample.size else -math.inf

    def _open(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.above = 0
        self.at_high: list[int] = []  # per chunk, like the next two
        self.at_low: list[int] = []
        self.between: list[Any] = []

    def add(self, numbers: Any) -> None:
        """Counts one chunk."""
        from_high, above_low = numbers >= self.high, numbers > self.low
        above = _count(numbers > self.high)
        self.above += above
        self.at_high.append(_count(from_high) - above)
        if self.low < self.high:
            self.at_low.append(_count(numbers >= self.low) - _count(above_low))
            self.between.append(numbers[above_low ^ from_high])
        else:  # many equal values: the two ends are one, counted above
            self.at_low.append(0)
            self.between.append(numbers[:0])

    def finish(self) -> tuple[float, int, list[int]] | None:
        """The threshold, how many of the numbers equal to it stay, and how many there are per chunk of this process.

        None where the threshold lies outside; the search is then open to that side, which cannot miss again.
        """
        rank = self.k - self.across.total(self.above)
        if rank <= 0:
            self._open(self.high, math.inf)
            return None
        at_high, at_low = self.across.total(sum(self.at_high)), self.across.total(sum(self.at_low))
        if rank <= at_high:
            return self.high, rank, self.at_high
        rank -= at_high
        here = [_on_the_cpu(part) for part in self.between]
        between = self.across.joined(numpy.concatenate(here) if here else numpy.empty(0, numpy.float32))
        if rank <= between.size:
            place = between.size - rank
            value = numpy.partition(between, place)[place]
            rank -= _count(between > value)
            return float(value), rank, [_count(part == value) for part in here]
        rank -= between.size
        if rank <= at_low:
            return self.low, rank, self.at_low
        self._open(-math.inf, self.low)
        return None


def _share(table: Sequence[Sequence[int]], place: int, rank: int) -> int:
    """How many of the first `rank` equal numbers lie in one process: chunk by chunk, in each the processes in order."""
    here = 0
    for of_chunk in zip(*table, strict=True):
        for process, count in enumerate(of_chunk):
            taken = min(count, rank)
            rank -= taken
            here += taken if process == place else 0
    return here


def _index_of_tie(
    chunks: Callable[[], Iterable[Chunk]],
    series: int,
    sizes: Sequence[int],
    threshold: float,
    rank: int,
    ties: Sequence[int],
) -> int:
    """Flat index of the `rank`-th number (from 1) that is the threshold; the last index where all stay, -1 where none."""
    if rank == sum(ties):
        return sum(sizes) - 1
    if rank == 0:
        return -1
    before = list(itertools.accumulate(ties, initial=0))
    number = bisect.bisect_left(before, rank) - 1
    chunk = next(itertools.islice(chunks(), number, None))
    equal = (chunk(series).reshape(-1) == threshold).nonzero()
    return sum(sizes[:number]) + int(equal[rank - before[number] - 1])


def _numbers(numbers: Tensor) -> Any:
    """What is compared and counted: an array on the CPU, where NumPy is several times faster than torch; else a tensor."""
    flat = numbers.detach().reshape(-1)
    if flat.device.type != "cpu":
        return flat
    return (flat if flat.dtype in (torch.float32, torch.float64) else flat.float()).numpy()


def _on_the_cpu(numbers: Any) -> numpy.ndarray:
    return numbers.float().cpu().numpy() if isinstance(numbers, Tensor) else numbers


def _count(flags: Any) -> int:
    return int(torch.count_nonzero(flags)) if isinstance(flags, Tensor) else int(numpy.count_nonzero(flags))
