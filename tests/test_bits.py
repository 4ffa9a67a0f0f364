"""Histograms over the bits of floats."""

import math

import numpy
import pytest

from hf_compress._bits import BitHistogram
from hf_compress._sharding.across import ALONE


def numbers(dtype):
    made = numpy.random.default_rng(0).standard_normal(5000).astype(dtype)
    made[::50], made[1::50], made[2::50], made[3::70] = 0.0, -0.0, -numpy.inf, numpy.inf
    made[:3] = numpy.finfo(dtype).tiny, numpy.finfo(dtype).smallest_subnormal, numpy.finfo(dtype).max
    return made


@pytest.mark.parametrize("dtype", [numpy.float32, numpy.float64])
@pytest.mark.parametrize("k", [1, 60, 73, 2400, 2500, 4899, 4950, 5000])
def test_brackets_hold_the_kth_largest_until_it_is_alone(dtype, k):
    every = numbers(dtype)
    wanted = float(numpy.sort(every)[-k])
    low, high, passes = -math.inf, math.inf, 0
    while low < high:
        bits = BitHistogram(low, high, dtype)
        for part in numpy.array_split(every, 7):
            bits.add(part)
        low, high, count = bits.bracket(k, ALONE)
        assert low <= wanted <= high and count == numpy.count_nonzero((every >= low) & (every <= high))
        passes += 1
    assert low == wanted and passes <= (2 if dtype is numpy.float32 else 4)
