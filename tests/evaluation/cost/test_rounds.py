"""Calls that take turns, against sleeps that time themselves."""

import time
from statistics import median

import pytest
import torch

from hf_compress.evaluation.cost.rounds import p95_of, speedup, time_rounds


class Sleeper(torch.nn.Module):
    """Sleeps, and notes for how long it really did: a busy machine wakes it late."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.slept = []

    def forward(self, x):
        begin = time.monotonic_ns()
        time.sleep(self.seconds)
        self.slept.append((time.monotonic_ns() - begin) / 1e9)
        return x


def test_a_model_that_sleeps_is_timed_within_5_percent():
    models = {"short": Sleeper(0.01), "long": Sleeper(0.03)}
    seconds = time_rounds({name: lambda one=one: one(torch.zeros(1)) for name, one in models.items()}, rounds=9, warmup=1)
    for name, model in models.items():
        assert len(seconds[name]) == 9
        assert median(seconds[name]) == pytest.approx(median(model.slept[1:]), rel=0.05)
        assert median(seconds[name]) >= model.seconds


def test_calls_take_turns_and_every_round_begins_with_another():
    order = []
    time_rounds({name: lambda name=name: order.append(name) for name in "abc"}, rounds=2, warmup=1)
    assert "".join(order) == "abc" + "bca" + "cab"


def test_the_device_is_waited_for_before_and_after_each_call():
    order = []
    time_rounds({"a": lambda: order.append("call")}, rounds=1, warmup=0, synchronize=lambda: order.append("wait"))
    assert order == ["wait", "call", "wait"]


def test_the_95th_of_100():
    assert p95_of([float(number) for number in range(1, 101)]) == 95
    assert p95_of([1.0, 2.0]) == 2.0


def test_the_interval_of_a_speedup_leaves_out_as_many_rounds_as_the_sign_test_says():
    # Of 20 fair coins fewer than 6 show heads in 2.07 % of the cases, fewer than 7 in 5.8 %: 5 are left out at each end.
    found = speedup([1.0] * 20, [1 + place / 10 for place in range(20)])
    assert (found.low, found.high) == (1.5, 2.4)
    assert found.median == pytest.approx(1.95)
    assert found.faster
    assert speedup([1.0] * 6, [0.9, 2, 2, 2, 2, 2]).low == 0.9  # all six are needed: 2 / 2**6 is 3.1 %
    assert not speedup([1.0] * 6, [1.0] * 6).faster


def test_the_interval_holds_the_true_quotient_at_the_stated_rate():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        noise = torch.randn(2, 15, generator=generator, dtype=torch.float64).mul(0.3).exp()
        found = speedup((1.0 * noise[0]).tolist(), (1.25 * noise[1]).tolist())
        held += found.low <= 1.25 <= found.high
    assert held >= 0.95 * 400 - 3 * (400 * 0.95 * 0.05) ** 0.5
