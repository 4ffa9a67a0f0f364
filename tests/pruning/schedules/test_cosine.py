"""s(t) = final * (1 - cos(pi t)) / 2."""

import math

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.cosine import Cosine


def test_a_third_of_the_way_a_quarter_of_the_sparsity_is_there():
    cosine = Cosine(final=0.8, begin=0, end=6, every=1)
    # cos(pi/6) = sqrt(3)/2, cos(pi/3) = 1/2, cos(pi/2) = 0
    root = math.sqrt(3) / 2
    expected = [0.0, 0.4 * (1 - root), 0.2, 0.4, 0.6, 0.4 * (1 + root), 0.8]
    assert [cosine.sparsity(step, 10) for step in range(7)] == pytest.approx(expected)


def test_its_second_half_is_its_first_turned_round():
    cosine = Cosine(final=0.9, initial=0.3, begin=0, end=100, every=1)
    values = [cosine.sparsity(step, 100) for step in range(101)]
    assert [a + b for a, b in zip(values, reversed(values), strict=True)] == pytest.approx([1.2] * 101)


def test_an_initial_sparsity_above_the_final_one_is_refused():
    with pytest.raises(CompressionError, match=r"initial=0\.6 is above final=0\.5, and sparsity never falls; swap them"):
        Cosine(final=0.5, initial=0.6)
