"""A logistic curve to the final sparsity."""

import math

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.one_cycle import OneCycle


def test_the_published_curve_by_hand():
    schedule = OneCycle(final=0.9, initial=0.1, begin=0, end=14, every=1)
    top = 1 + math.exp(-9)  # alpha = 14 and beta = 5: a step is 1 in the exponent
    expected = [0.1 + 0.8 * top / (1 + math.exp(5 - step)) for step in range(14)]
    assert [schedule.sparsity(step, 20) for step in range(14)] == pytest.approx(expected)
    assert schedule.sparsity(5, 20) == pytest.approx(0.1 + 0.4 * top), "half of the way at beta / alpha"
    assert schedule.sparsity(14, 20) == 0.9 and schedule.progress(1.0) == pytest.approx(1.0, abs=1e-12)


def test_it_is_steepest_at_beta_over_alpha():
    schedule = OneCycle(final=0.9, begin=0, end=100, every=1, alpha=20, beta=12)
    gains = [schedule.sparsity(step + 1, 100) - schedule.sparsity(step, 100) for step in range(100)]
    assert gains.index(max(gains)) in (59, 60)


@pytest.mark.parametrize("changes", [{"alpha": 0.0}, {"alpha": -1.0}, {"alpha": 1e4}, {"beta": 1e4}])
def test_what_makes_no_curve_is_refused(changes):
    with pytest.raises(CompressionError, match="make no curve that rises; write alpha above 0"):
        OneCycle(**changes)
