"""The k largest of many numbers, exactly, without sorting them and without holding them.

A sample brackets the threshold. One pass over the numbers then counts what lies above the bracket and collects what lies
in it, among which the threshold is selected; of N numbers sample and bracket hold about (4 N)**(2/3) each, of 5 * 10**8 a
third of a percent. Where that was no good bracket, because the threshold lies outside or many numbers are equal, a
histogram over the leading bits finds one that is. Every number is counted, none is estimated, so the result is that of a
stable sort, whatever the sample, the chunks and the number of threads. Counts add up over processes, so that numbers which
lie in several of them have one threshold.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from hf_compress._sharding.across import ALONE, Across
from hf_compress._threshold import Search, as_numbers, on_the_cpu

SAMPLE = 2**14
"""Numbers that are looked at first, at least; of fewer the threshold is selected directly."""

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
        flat = as_numbers(numbers)
        if isinstance(flat, Tensor):
            found = flat > self.threshold
            found[:split] |= flat[:split] == self.threshold
            return found.view(numbers.shape)
        kept = numpy.empty(flat.shape, numpy.bool_)
        numpy.greater_equal(flat[:split], self.threshold, out=kept[:split])
        numpy.greater(flat[split:], self.threshold, out=kept[split:])
        return torch.from_numpy(kept).view(numbers.shape)

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
    stride = _stride(total)
    samples = {}
    if total > SAMPLE:
        for series in dict.fromkeys(series for series, _ in wanted):
            samples[series] = across.joined(on_the_cpu(as_numbers(sample(series, stride))))
    searches = {key: Search(key[1], total, samples.get(key[0]), 2 * max(SAMPLE, total // stride), across) for key in wanted}
    samples.clear()
    while searches:
        open_series = sorted({series for series, _ in searches})
        sizes: list[int] = []
        for chunk in chunks():
            for series in open_series:
                numbers = as_numbers(chunk(series))
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


def _stride(total: int) -> int:
    """Of how many numbers one is looked at first: the first prime, so that a matrix's columns take turns."""
    wanted = max(int(total / max(SAMPLE, (4 * total) ** (2 / 3))), 1)
    return next(n for n in itertools.count(wanted) if all(n % d for d in range(2, math.isqrt(n) + 1)))


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
