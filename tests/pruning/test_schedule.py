"""What all schedules share: the two ends, the steps in between, and refusals."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.schedule import Schedule
from hf_compress.pruning.schedules.linear import LinearRamp


def test_shares_resolve_against_the_length_of_training():
    ramp = LinearRamp(final=0.8, begin="25%", end="75%", every=1)
    assert [ramp.sparsity(step, 8) for step in range(9)] == pytest.approx([0, 0, 0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_between_the_ends_the_sparsity_moves_every_few_steps_counted_from_begin():
    ramp = LinearRamp(final=0.5, begin=1, end=11, every=5)
    values = [ramp.sparsity(step, 20) for step in range(13)]
    assert values == [0, 0, 0, 0, 0, 0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5]


def test_the_way_begins_at_the_initial_sparsity():
    ramp = LinearRamp(final=0.8, initial=0.4, begin=2, end=6, every=1)
    assert [ramp.sparsity(step, 10) for step in range(8)] == pytest.approx([0, 0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.8])
    assert [ramp.reached(step, 10) for step in (1, 2, 4, 6, 9)] == [None, 0.0, 0.5, 1.0, 1.0]


def test_the_end_is_reached_even_if_every_does_not_divide_the_way():
    ramp = LinearRamp(final=0.5, begin=0, end=7, every=5)
    assert ramp.sparsity(6, 10) < 0.5
    assert ramp.sparsity(7, 10) == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"final": 1.0}, r"final=1\.0 is not a sparsity"),
        ({"initial": -0.1}, r"initial=-0\.1 is not a sparsity"),
        ({"initial": 0.7}, r"initial=0\.7 is above final=0\.5, and sparsity never falls"),
        ({"begin": 0.5}, r"begin=0\.5 is not a point"),
        ({"end": -1}, "end=-1 is negative"),
        ({"every": 0}, "every=0 is not a number of steps"),
        ({"every": 2.5}, r"every=2\.5 is not a number of steps"),
        ({"every": True}, "every=True is not a number of steps"),
        ({"begin": "60%", "end": "50%"}, "begin='60%' is after end='50%'; swap them"),
        ({"begin": 9, "end": 8}, "begin=9 is after end=8; swap them"),
    ],
)
def test_settings_that_make_no_schedule_are_refused(settings, message):
    with pytest.raises(CompressionError, match=message):
        LinearRamp(**settings)


def test_a_schedule_that_ends_after_training_is_refused():
    with pytest.raises(CompressionError, match=r"ends at step 30, but training has 20 steps.*set end to at most 20"):
        LinearRamp(begin=0, end=30).check(20)


def test_a_beginning_after_the_end_is_refused_once_the_length_is_known():
    ramp = LinearRamp(begin=15, end="50%")
    ramp.check(40)
    with pytest.raises(CompressionError, match="begins at step 15, after its end at step 10"):
        ramp.check(20)


def test_a_schedule_without_progress_names_itself():
    class Forgetful(Schedule):
        pass

    with pytest.raises(TypeError, match=r"Forgetful defines no progress\(\)"):
        Forgetful(begin=0, end=10).sparsity(3, 10)
