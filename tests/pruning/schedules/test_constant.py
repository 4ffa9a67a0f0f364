"""All at once."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.constant import Constant


def test_the_sparsity_jumps_from_nothing_to_final():
    constant = Constant(final=0.7, begin="50%", end="50%")
    assert [constant.sparsity(step, 4) for step in range(5)] == [0.0, 0.0, 0.7, 0.7, 0.7]


def test_by_default_it_prunes_before_the_first_step():
    assert {Constant(final=0.3).sparsity(step, 9) for step in range(10)} == {0.3}


def test_two_different_moments_are_refused():
    with pytest.raises(
        CompressionError, match="begin='20%' and end='0%' differ, but the constant schedule prunes at one moment"
    ):
        Constant(begin="20%")


def test_an_initial_sparsity_is_refused_because_there_is_no_way_to_start_from_it():
    with pytest.raises(CompressionError, match=r"initial=0\.2 is where a gradual schedule starts.*leave initial out"):
        Constant(final=0.5, initial=0.2)
