"""Rectangles of weights."""

import itertools

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.patterns.blocks import Blocks
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant


def by_loops(score, rows, columns, sparsity):
    """The definition: mean of every block, stable sort, the lowest go, of equal ones the last."""
    places = list(itertools.product(range(0, score.shape[0], rows), range(0, score.shape[1], columns)))
    means = {(r, c): float(score[r : r + rows, c : c + columns].double().mean()) for r, c in places}
    order = sorted(places, key=lambda place: (-means[place], place))
    keep = torch.ones_like(score, dtype=torch.bool)
    for r, c in order[len(places) - round(sparsity * len(places)) :]:
        keep[r : r + rows, c : c + columns] = False
    return keep


def test_the_block_with_the_lowest_mean_goes_whole():
    score = torch.tensor([[9.0, 0.0, 3.0, 3.0], [0.0, 0.0, 3.0, 3.0], [5.0, 5.0, 0.0, 8.0], [5.0, 5.0, 8.0, 8.0]])
    # Means 2.25, 3, 5 and 6: the first goes with its 9.
    expected = [[False, False, True, True]] * 2 + [[True] * 4] * 2
    assert Blocks(rows=2, columns=2).mask(score, 0.25).tolist() == expected


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (4, 1), (2, 3), (4, 6), (8, 12)])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_the_masks_are_those_of_a_loop_over_blocks(rows, columns, sparsity):
    score = torch.randint(0, 16, (8, 12), generator=torch.Generator().manual_seed(0)).float()  # sums are exact, with ties
    assert torch.equal(Blocks(rows=rows, columns=columns).mask(score, sparsity), by_loops(score, rows, columns, sparsity))


def test_scattered_zeros_count_as_zeros_in_their_block_and_whole_ones_first():
    score = torch.tensor([[-torch.inf, 9.0, 1.0, 1.0, -torch.inf, -torch.inf]])
    pattern = Blocks(rows=1, columns=2)
    assert pattern.mask(score, 1 / 3).tolist() == [[True, True, True, True, False, False]]
    assert pattern.mask(score, 2 / 3).tolist() == [[True, True, False, False, False, False]]


def test_a_layer_that_the_block_does_not_divide_is_refused_by_name():
    job = Pruning(pattern=Blocks(rows=4, columns=4), schedule=Constant(final=0.5))
    for layer, sentence in (
        (nn.Linear(8, 6), "pruning.pattern: 0: rows=4 does not divide the 6 outputs of a layer"),
        (nn.Linear(10, 8), "pruning.pattern: 0: columns=4 does not divide the 10 inputs of a layer"),
    ):
        with pytest.raises(CompressionError, match=sentence):
            prune(nn.Sequential(layer), job)
    with pytest.raises(CompressionError, match="rows=1, columns=1 is no block"):
        Blocks(rows=1, columns=1)


def test_a_convolutions_matrix_is_cut_and_a_sparsity_that_leaves_nothing_is_refused():
    model = nn.Sequential(nn.Conv2d(2, 8, 2))
    job = Pruning(pattern=Blocks(rows=2, columns=4), schedule=Constant(final=0.5), targets=["Conv2d"])
    prune(model, job)
    assert measure_sparsity(model, job)[""] == 0.5
    blocks = (model[0].weight.flatten(1) == 0).view(4, 2, 2, 4)
    assert torch.equal(blocks.all(3).all(1), blocks.any(3).any(1))
    with pytest.raises(
        CompressionError, match="final: 0.95 rounds to all 8 groups of the pattern blocks of 0, which would"
    ):
        prune(model, Pruning(pattern=job.pattern, schedule=Constant(final=0.95), targets=["Conv2d"]))
    with pytest.raises(
        CompressionError, match="0.05 rounds to no weight at all in layers of at most 8 groups of the pattern"
    ):
        prune(model, Pruning(pattern=job.pattern, schedule=Constant(final=0.05), targets=["Conv2d"]))
