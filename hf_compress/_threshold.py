"""One k-th largest number, looked for in passes over all of them; how they are made is in `_selection`."""

import itertools
import math
from typing import Any

import numpy
import torch
from torch import Tensor

from hf_compress._bits import BitHistogram
from hf_compress._sharding.across import Across

MARGIN = 4.0
"""Half the width of the searched bracket, in standard errors of the sample's quantile. It decides the speed and never the
result: a bracket that misses is counted, and known to miss."""
_BLOCK = 2**16
"""Numbers that are compared at once: what is made on the way stays in the processor's cache."""
_BLOCK_ELSEWHERE = 2**26
"""The same on other devices, which take longer to be asked than to compare."""


class Search:
    """Looks for the k-th largest number between `low` and `high`, the ends included, pass by pass.

    Args:
        k: from 1.
        size: numbers there are, over all processes.
        sample: some of all of them, the same in every process and changed; None to begin with everything.
        most: how many numbers one process holds at a time, at most.
        across: the processes.
    """

    def __init__(self, k: int, size: int, sample: numpy.ndarray | None, most: int, across: Across) -> None:
        self.k, self.most, self.across = k, most, across
        low, high = -math.inf, math.inf
        if sample is not None:
            middle, share = sample.size * k / size, k / size
            margin = MARGIN * math.sqrt(middle * (1 - share)) + 1
            first, last = math.floor(middle - margin), math.ceil(middle + margin)  # ranks, the largest is 0
            places = [sample.size - 1 - rank for rank in (first, last) if 0 <= rank < sample.size]
            if places:
                sample.partition(places)
            high = float(sample[sample.size - 1 - first]) if first >= 0 else math.inf
            low = float(sample[sample.size - 1 - last]) if last < sample.size else -math.inf
        self._collect(low, high)

    def _collect(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.bits: BitHistogram | None = None
        self.counts_bits, self.above, self.collected = False, 0, 0
        self.at_high: list[int] = []  # per chunk, like the next two: those that were counted and not collected
        self.at_low: list[int] = []
        self.inside: list[numpy.ndarray] = []

    def add(self, numbers: Any) -> None:
        """Counts one chunk."""
        length = _BLOCK_ELSEWHERE if isinstance(numbers, Tensor) else _BLOCK
        blocks = [numbers[start : start + length] for start in range(0, len(numbers), length)]
        if self.counts_bits:
            for block in map(on_the_cpu, blocks):
                self.bits = self.bits or BitHistogram(self.low, self.high, block.dtype)
                self.bits.add(block)
            return
        at_high, at_low, inside = 0, 0, []
        for block in blocks:
            above, from_low = block > self.high, block >= self.low
            count = count_of(above)
            self.above += count
            count = count_of(from_low) - count
            if not count:
                continue
            here = from_low ^ above
            if 4 * count > len(block) or self.low == self.high:  # as many as that have come together at the ends
                ends = block == self.high, block == self.low
                at_high += count_of(ends[0])
                at_low += count_of(ends[1]) if self.low < self.high else 0
                here ^= ends[0] | ends[1]
            inside.append(on_the_cpu(block[here]))
        self.at_high.append(at_high)
        self.at_low.append(at_low)
        self.inside.append(numpy.concatenate(inside) if inside else numpy.empty(0, numpy.float32))
        self.collected += self.inside[-1].size
        if self.collected > self.most:  # equal ones, or a sample that says little: too many to hold
            self.inside = [numpy.empty(0, numpy.float32)] * len(self.inside)

    def finish(self) -> tuple[float, int, list[int]] | None:
        """The threshold, how many of the numbers equal to it stay, and how many there are per chunk of this process.

        None where it takes another pass.
        """
        if self.counts_bits:
            self._narrow()
            return None
        rank = self.k - self.across.total(self.above)
        at_high, at_low = self.across.total(sum(self.at_high)), self.across.total(sum(self.at_low))
        if rank <= 0:
            self._count_bits(self.high, math.inf)
            return None
        if rank > at_high + self.across.total(self.collected) + at_low:
            self._count_bits(-math.inf, self.low)
            return None
        if self.across.total(int(self.collected > self.most)):
            self._count_bits(self.low, self.high)
            return None
        ends = list(itertools.accumulate(part.size for part in self.inside))
        here = numpy.concatenate([*self.inside, numpy.empty(0, numpy.float32)])
        self.inside = []
        inside = self.across.joined(here)
        if rank <= at_high:
            value = self.high
        elif rank <= at_high + inside.size:
            place = inside.size - (rank - at_high)
            value = float(numpy.partition(inside, place)[place])
        else:
            value = self.low
        rank -= (at_high if value < self.high else 0) + count_of(inside > value)
        ties = [count_of(part == value) for part in numpy.split(here, ends)[:-1]]
        for end, counted in ((self.high, self.at_high), (self.low, self.at_low)):
            if value == end:
                ties = [collected + counted for collected, counted in zip(ties, counted, strict=True)]
        return value, rank, ties

    def _count_bits(self, low: float, high: float) -> None:
        """The next pass counts what lies between two numbers by their bits."""
        self._collect(low, high)
        self.counts_bits = True

    def _narrow(self) -> None:
        """What the pass after that goes by."""
        bits = self.bits or BitHistogram(self.low, self.high, numpy.float32)  # of nothing
        low, high, count = bits.bracket(self.k, self.across)
        if count > self.most and low < high:
            self._count_bits(low, high)
        else:
            self._collect(low, high)


def as_numbers(numbers: Tensor) -> Any:
    """What is compared and counted: an array on the CPU, where NumPy is several times faster than torch; else a tensor."""
    flat = numbers.detach().reshape(-1)
    if flat.device.type != "cpu":
        return flat
    return (flat if flat.dtype in (torch.float32, torch.float64) else flat.float()).numpy()


def on_the_cpu(numbers: Any) -> numpy.ndarray:
    return numbers.float().cpu().numpy() if isinstance(numbers, Tensor) else numbers


def count_of(flags: Any) -> int:
    return int(torch.count_nonzero(flags)) if isinstance(flags, Tensor) else int(numpy.count_nonzero(flags))
