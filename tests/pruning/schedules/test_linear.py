"""s(t) = final * t."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.linear import LinearRamp


def test_a_quarter_of_the_way_is_a_quarter_of_the_sparsity():
    ramp = LinearRamp(final=0.8, begin=2, end=6, every=1)
    assert [ramp.sparsity(step, 10) for step in range(8)] == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_every_step_adds_the_same():
    ramp = LinearRamp(final=0.9, begin=0, end=10, every=1)
    assert [ramp.sparsity(step + 1, 10) - ramp.sparsity(step, 10) for step in range(10)] == pytest.approx([0.09] * 10)


def test_a_bare_fraction_as_a_point_is_refused():
    with pytest.raises(CompressionError, match=r"end=0\.5 is not a point in training; write a step \(300\) or a share"):
        LinearRamp(end=0.5)
