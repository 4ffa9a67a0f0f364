import random

import torch

from hf_compress import _distributed
from hf_compress.calibration.configuration import Calibration
from hf_compress.calibration.examples import calibration_batches

ROWS = list(range(50))


def numbers(**changes):
    return [list(batch) for batch in calibration_batches(ROWS, lambda rows: rows, Calibration(**changes))]


def test_each_row_comes_at_most_once_and_the_seed_says_which():
    batches = numbers(num_examples=20, batch_size=8)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert len({row for batch in batches for row in batch}) == 20
    assert batches == numbers(num_examples=20, batch_size=8) != numbers(num_examples=20, batch_size=8, seed=1)
    assert sorted(row for batch in numbers(num_examples=999) for row in batch) == ROWS


def test_processes_share_the_batches_of_one_process(monkeypatch):
    alone = numbers(num_examples=20, batch_size=3)
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(_distributed, "membership", lambda rank=rank: (rank, 2))
        parts.append(numbers(num_examples=20, batch_size=3))
    assert parts == [alone[0::2], alone[1::2]]


def test_what_a_collator_draws_is_the_same_each_time_and_leaves_no_trace():
    def drawing(rows):
        return torch.rand(len(rows)).tolist(), random.random()

    calibration = Calibration(num_examples=6, batch_size=3)
    before = torch.get_rng_state(), random.getstate()
    first, again = (list(calibration_batches(ROWS, drawing, calibration)) for _ in range(2))
    assert first == again and first[0] != first[1]
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
