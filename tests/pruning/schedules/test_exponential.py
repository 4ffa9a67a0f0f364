"""The density falls exponentially."""

import itertools

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedules.exponential import Exponential


def test_three_moves_to_one_eighth_halve_what_is_left_each_time():
    schedule = Exponential(final=0.875, begin=0, end=3, every=1)
    assert [schedule.sparsity(step, 10) for step in range(4)] == pytest.approx([0.0, 0.5, 0.75, 0.875])


def test_every_move_prunes_the_same_share_of_what_is_left_from_any_beginning():
    schedule = Exponential(final=0.9, initial=0.2, begin=0, end=20, every=1)
    left = [1 - schedule.sparsity(step, 20) for step in range(21)]
    assert left[0] == pytest.approx(0.8) and left[-1] == pytest.approx(0.1)
    assert [after / before for before, after in itertools.pairwise(left)] == pytest.approx([(1 / 8) ** 0.05] * 20)


def test_where_there_is_no_way_to_go_it_stands_still():
    schedule = Exponential(final=0.4, initial=0.4, begin=0, end=5, every=1)
    assert {schedule.sparsity(step, 10) for step in range(10)} == {0.4}


def test_a_sparsity_of_everything_is_refused():
    with pytest.raises(CompressionError, match=r"final=1\.0 is not a sparsity"):
        Exponential(final=1.0)
