"""Models that are timed in turns, each on rows of its own making."""

from types import SimpleNamespace

import pytest
import torch

from hf_compress import CompressionError, Latency
from hf_compress.evaluation.in_turns import Timed, macs_of_row, milliseconds


class Counting(torch.nn.Linear):
    """Remembers how many rows it was asked about, in order."""

    device = torch.device("cpu")

    def __init__(self, width):
        super().__init__(width, 4, bias=False)
        self.asked = []

    def forward(self, x):
        self.asked.append(len(x))
        return super().forward(x)


class Rows(list):
    def select(self, places):
        return Rows([self[place] for place in places])


def batches(examples, processor, size):
    rows = torch.ones(len(examples), processor)
    return [{"x": rows[start : start + size]} for start in range(0, len(examples), size)]


def opened(width, count=5):
    task = SimpleNamespace(batches=batches, generates=False)
    return SimpleNamespace(task=task, processor=width, examples={"test": Rows(range(count)), "validation": Rows(range(3))})


def test_every_round_has_every_model_on_the_same_rows_one_by_one_and_as_a_batch():
    models = {"a": Counting(8), "b": Counting(2)}
    timed = [Timed(name=name, model=model, opened=opened(model.in_features)) for name, model in models.items()]
    found = milliseconds(timed, "test", 4, Latency(rows=3, rounds=2, warmup=1))
    assert {name: list(by) for name, by in found.items()} == {"a": ["1", "4"], "b": ["1", "4"]}
    assert all(value > 0 for by in found.values() for value in by.values())
    for model in models.values():
        assert model.asked == [1] * 3 * 3 + [4] * 3  # three rounds: three single rows each, then one batch each


def test_macs_are_of_a_row():
    assert macs_of_row(Counting(8), opened(8), "validation", 16) == 8 * 4


def test_refused():
    with pytest.raises(CompressionError, match="rows=0 and rounds=7 must be 1 or more"):
        Latency(rows=0)
