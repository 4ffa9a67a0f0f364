"""Counting numbers by their leading bits: a bracket around the k-th largest that cannot miss, in memory that does not grow.

The bits of a float, read as a whole number (with those of negative ones turned over), are in the order of the floats. So a
histogram over the leading bits of what lies between two numbers says, exactly, between which two of its edges the k-th
largest is; two passes over fp32 numbers tell them all apart.
"""

from typing import Any

import numpy

from hf_compress._sharding.across import Across

_BINS = 16
"""Bits that are told apart in one pass: a table of half a megabyte."""


class BitHistogram:
    """How many numbers lie where between `low` and `high`, the ends included, and how many above.

    Args:
        low: a number, or -inf.
        high: a number, or inf.
        dtype: float32 or float64, as the numbers are.
    """

    def __init__(self, low: float, high: float, dtype: Any) -> None:
        self._dtype = numpy.dtype(dtype)
        self._low, self._high = int(_ordered(low, self._dtype)), int(_ordered(high, self._dtype))
        self._shift = max((self._high - self._low).bit_length() - _BINS, 0)
        self._counts = numpy.zeros(((self._high - self._low) >> self._shift) + 1, numpy.int64)
        self._above = 0

    def add(self, numbers: numpy.ndarray) -> None:
        """Count some more."""
        places = _ordered(numbers, self._dtype)
        self._above += int(numpy.count_nonzero(places > self._high))
        inside = places[(places >= self._low) & (places <= self._high)]
        if self._dtype == numpy.float64:  # a difference of two of them may not fit
            offsets = inside.view(numpy.uint64) - numpy.uint64(self._low & (2**64 - 1))
        else:
            offsets = (inside.astype(numpy.int64) - self._low).view(numpy.uint64)
        leading = (offsets >> numpy.uint64(self._shift)).astype(numpy.int64)
        self._counts += numpy.bincount(leading, minlength=self._counts.size)

    def bracket(self, k: int, across: Across) -> tuple[float, float, int]:
        """Between which numbers the k-th largest of all processes lies, the ends included, and how many lie there.

        Args:
            k: of one that lies between `low` and `high`.
            across: the processes; all of them ask.
        """
        table = numpy.asarray(across.joined(self._counts.astype(numpy.float64))).reshape(-1, self._counts.size)
        counts = table.sum(0).astype(numpy.int64)
        reached = across.total(self._above) + counts[::-1].cumsum()
        leading = counts.size - 1 - int(numpy.searchsorted(reached, k))
        low = self._low + (leading << self._shift)
        high = min(low + (1 << self._shift) - 1, self._high)
        return _float(low, self._dtype), _float(high, self._dtype), int(counts[leading])


def _ordered(numbers: Any, dtype: numpy.dtype) -> numpy.ndarray:
    """The whole numbers whose order is that of floats; both zeros have one."""
    whole = (numpy.asarray(numbers, dtype) + dtype.type(0)).view(f"i{dtype.itemsize}")
    turned: numpy.ndarray = whole ^ ((whole >> (8 * dtype.itemsize - 1)) & numpy.iinfo(whole.dtype).max)
    return turned


def _float(ordered: int, dtype: numpy.dtype) -> float:
    """The way back."""
    whole = numpy.array(ordered, f"i{dtype.itemsize}")
    turned = whole ^ ((whole >> (8 * dtype.itemsize - 1)) & numpy.iinfo(whole.dtype).max)
    return float(turned.view(dtype))
