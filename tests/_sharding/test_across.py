"""Counts, alone and in a row with others."""

import numpy
import torch

from hf_compress._sharding.across import ALONE, Rows


def test_alone_a_count_is_the_count():
    assert ALONE.place == 0 and ALONE.total(3) == 3 and ALONE.table([1, 2]) == [[1, 2]]
    assert ALONE.joined(numpy.arange(2)).tolist() == [0, 1]
    numbers = torch.arange(4).view(2, 2)
    assert ALONE.sum(numbers) is numbers and list(ALONE.pieces(numbers)) == [numbers]


def test_who_holds_columns_takes_turns_in_every_row():
    assert [row.tolist() for row in Rows(ALONE).pieces(torch.tensor([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]
