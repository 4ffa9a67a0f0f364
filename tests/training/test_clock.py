"""The parts of a training's time, with a clock that is set by hand."""

from types import SimpleNamespace

import pytest

from hf_compress.training import clock as clock_module
from hf_compress.training.clock import TrainingClock


@pytest.fixture
def now(monkeypatch):
    time = SimpleNamespace(value=100.0)
    time.perf_counter = lambda: time.value
    monkeypatch.setattr(clock_module, "time", time)
    return time


def test_a_part_is_added_to_those_before_and_the_clock_stands_at_the_end(now):
    clock = TrainingClock()
    assert clock.seconds() == 0
    clock.go_on_from({"train_s": 40.0})
    assert clock.seconds() == 40, "nothing was trained: a finished run was loaded"
    now.value = 150.0
    clock.on_train_begin(None, None, None)
    now.value = 153.0
    assert clock.seconds() == 43
    now.value = 155.0
    clock.on_train_end(None, None, None)
    now.value = 999.0
    assert clock.seconds() == 45


def test_a_new_training_starts_at_zero_and_an_unknown_part_stays_unknown(now):
    clock = TrainingClock()
    clock.go_on_from(None)
    for expected in (None, 5.0):
        clock.on_train_begin(None, None, None)
        now.value += 5
        clock.on_train_end(None, None, None)
        assert clock.seconds() == expected
