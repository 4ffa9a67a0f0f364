"""s(t) = final * (1 - (1 - t)^3)."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.cubic import Cubic


def test_half_way_seven_eighths_of_the_sparsity_are_there():
    cubic = Cubic(final=0.8, begin=0, end=4, every=1)
    # 1 - (3/4)^3, 1 - (1/2)^3, 1 - (1/4)^3
    expected = [0.0, 0.8 * 37 / 64, 0.8 * 7 / 8, 0.8 * 63 / 64, 0.8]
    assert [cubic.sparsity(step, 10) for step in range(5)] == pytest.approx(expected)


def test_it_is_fast_first_and_slow_near_the_end():
    cubic = Cubic(final=0.9, begin=0, end=100, every=1)
    gains = [cubic.sparsity(step + 1, 100) - cubic.sparsity(step, 100) for step in range(100)]
    assert gains == sorted(gains, reverse=True)


def test_a_sparsity_of_everything_is_refused():
    with pytest.raises(CompressionError, match=r"final=1 is not a sparsity"):
        Cubic(final=1)
