"""The k largest magnitudes of a tensor, exactly, without sorting it and without holding it."""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from hf_compress.merging.operands import Operands

Vector = Callable[[Operands, int], Tensor]
"""(operands, member) -> a new, finite fp32 tensor of the operands' shape; elementwise, so a part gives that part."""

SAMPLE = 2**16
"""Elements that are looked at first, at least; a tensor of fewer is searched directly."""

MARGIN = 4.0
"""Half the width of the searched bracket, in standard errors of the sample's quantile. It decides the speed and never the
result: a bracket that misses is counted, known to miss, and opened to the side where the threshold is."""


@dataclass(frozen=True)
class Cut:
    """Which elements are the k largest in magnitude; of equal ones those with the lower flat index.

    Attributes:
        threshold: magnitude of the smallest element that stays; infinite where none does.
        last: flat index of the last element of exactly that magnitude that stays.
    """

    threshold: float
    last: int

    def keep(self, vector: Tensor, offset: int) -> Tensor:
        """A new tensor with 0 in place of all but the k largest; any shape, fp32.

        Args:
            vector: all elements, or the part of the flat tensor that begins at `offset`.
            offset: flat index of the first one.
        """
        split = min(max(self.last + 1 - offset, 0), vector.numel())
        # hardshrink keeps what lies strictly above; above the next smaller float means at the threshold, too.
        below = float(numpy.nextafter(numpy.float32(self.threshold), numpy.float32(0)))
        if split in (0, vector.numel()):
            return torch.hardshrink(vector, below if split else self.threshold)
        flat = vector.reshape(-1)
        parts = torch.hardshrink(flat[:split], below), torch.hardshrink(flat[split:], self.threshold)
        return torch.cat(parts).reshape(vector.shape)


def find_cuts(operands: Operands, counts: Sequence[Sequence[int]], vector: Vector) -> list[list[Cut]]:
    """The cuts that keep `counts[member]` elements of each member's vector.

    A strided sample brackets each threshold. One pass over the chunks then counts what lies above the bracket and on its
    ends, and collects what lies inside (about 1 % of the elements), among which the threshold is selected. Every number is
    counted, none estimated, so the result is that of a full sort, whatever the number of threads.

    Args:
        operands: the whole tensor.
        counts: M sequences of how many elements stay, each in [0, num_elements].
        vector: whose magnitudes count.

    Returns:
        For each member one cut per count, in the order given.
    """
    size = operands.num_elements
    cuts = {(member, 0): Cut(math.inf, -1) for member in range(len(counts))}
    cuts |= {(member, size): Cut(0.0, size - 1) for member in range(len(counts))}
    wanted = [key for key in dict.fromkeys((m, k) for m, ks in enumerate(counts) for k in ks) if key not in cuts]
    stride = min(size // SAMPLE, 256) | 1  # odd, so that a matrix's columns take turns
    samples = {m: _sample(operands, m, vector, stride) for m in {m for m, _ in wanted}} if size > SAMPLE else {}
    searches = {key: _Search(key[1], size, samples.get(key[0])) for key in wanted}
    while searches:
        members = sorted({member for member, _ in searches})
        for chunk in operands.chunks():
            for member in members:
                magnitudes = _magnitudes(vector(chunk, member))
                for key, search in searches.items():
                    if key[0] == member:
                        search.add(magnitudes)
        for (member, k), search in list(searches.items()):
            found = search.finish()
            if found is not None:
                threshold, rank, ties = found
                cuts[member, k] = Cut(threshold, _index_of_tie(operands, member, vector, threshold, rank, ties))
                del searches[member, k]
    return [[cuts[member, k] for k in ks] for member, ks in enumerate(counts)]


class _Search:
    """Looks for the k-th largest magnitude between `low` and `high`."""

    def __init__(self, k: int, size: int, sample: numpy.ndarray | None) -> None:
        self.k = k
        self._open(-1.0, math.inf)
        if sample is not None:
            middle, share = sample.size * k / size, k / size
            margin = MARGIN * math.sqrt(middle * (1 - share)) + 1
            first, last = math.floor(middle - margin), math.ceil(middle + margin)  # ranks, the largest is 0
            places = [sample.size - 1 - rank for rank in (first, last) if 0 <= rank < sample.size]
            ordered = numpy.partition(sample, places) if places else sample
            self.high = float(ordered[sample.size - 1 - first]) if first >= 0 else math.inf
            self.low = float(ordered[sample.size - 1 - last]) if last < sample.size else -1.0

    def _open(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.above = 0
        self.at_high: list[int] = []  # per chunk, like the next two
        self.at_low: list[int] = []
        self.between: list[numpy.ndarray] = []

    def add(self, magnitudes: numpy.ndarray) -> None:
        """Counts one chunk."""
        from_high, above_low = magnitudes >= self.high, magnitudes > self.low
        above = _count(magnitudes > self.high)
        self.above += above
        self.at_high.append(_count(from_high) - above)
        if self.low < self.high:
            self.at_low.append(_count(magnitudes >= self.low) - _count(above_low))
            self.between.append(magnitudes[above_low ^ from_high])
        else:  # many equal values: the two ends are one, counted above
            self.at_low.append(0)
            self.between.append(magnitudes[:0])

    def finish(self) -> tuple[float, int, list[int]] | None:
        """The threshold, how many of the elements equal to it stay, and how many there are per chunk.

        None where the threshold lies outside; the search is then open to that side, which cannot miss again.
        """
        rank = self.k - self.above
        if rank <= 0:
            self._open(self.high, math.inf)
            return None
        if rank <= sum(self.at_high):
            return self.high, rank, self.at_high
        rank -= sum(self.at_high)
        between = numpy.concatenate(self.between)
        if rank <= between.size:
            place = between.size - rank
            value = numpy.partition(between, place)[place]
            rank -= _count(between > value)
            return float(value), rank, [_count(part == value) for part in self.between]
        rank -= between.size
        if rank <= sum(self.at_low):
            return self.low, rank, self.at_low
        self._open(-1.0, self.low)
        return None


def _index_of_tie(operands: Operands, member: int, vector: Vector, threshold: float, rank: int, ties: Sequence[int]) -> int:
    """Flat index of the `rank`-th element (from 1) whose magnitude is the threshold; the last index where all stay."""
    if rank == sum(ties):
        return operands.num_elements - 1
    before = list(itertools.accumulate(ties, initial=0))
    number = bisect.bisect_left(before, rank) - 1
    rank -= before[number]
    chunk = next(itertools.islice(operands.chunks(), number, None))
    return chunk.offset + int(numpy.flatnonzero(_magnitudes(vector(chunk, member)) == threshold)[rank - 1])


def _count(flags: numpy.ndarray) -> int:
    return int(numpy.count_nonzero(flags))


def _magnitudes(vector: Tensor) -> numpy.ndarray:
    # NumPy compares, selects and partitions several times faster than torch does on the CPU.
    return vector.abs_().reshape(-1).cpu().numpy()


def _sample(operands: Operands, member: int, vector: Vector, stride: int) -> numpy.ndarray:
    """Every `stride`-th magnitude of one member."""
    base = None if operands.base is None else operands.base.reshape(-1)[::stride]
    tensors = tuple(tensor.reshape(-1)[::stride] for tensor in operands.tensors)
    part = dataclasses.replace(operands, tensors=tensors, base=base, statistics={}, num_elements=tensors[0].numel())
    return _magnitudes(vector(part, member))
