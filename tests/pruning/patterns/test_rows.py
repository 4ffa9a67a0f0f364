"""Whole outputs."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.patterns.rows import WholeRows
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant


def test_the_rows_with_the_lowest_means_go():
    score = torch.tensor([[1.0, 9.0], [4.0, 4.0], [0.0, 3.0], [7.0, 7.0]])
    assert WholeRows().mask(score, 0.5).tolist() == [[True, True], [False, False], [False, False], [True, True]]


def test_a_linear_loses_the_outputs_with_the_smallest_l1_norms_and_masks_grow():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Linear(10, 4))
    norms = [layer.weight.detach().abs().sum(1) for layer in model]
    masks = Masks(model, Pruning(pattern=WholeRows(), schedule=Constant(final=0.5)))
    for sparsity in (0.25, 0.5):
        masks.update(sparsity)
        for layer, norm, keep in zip(model, norms, masks.keep.values(), strict=True):
            lowest = norm.argsort()[: round(sparsity * len(norm))]
            assert set((~keep.any(1)).nonzero().flatten().tolist()) == set(lowest.tolist())
            assert torch.equal(keep.all(1), keep.any(1)) and keep.shape == layer.weight.shape
        masks.apply()
        assert masks.num_pruned() == masks.fewest_zeros(sparsity) == int(masks.num_zeros())


def test_one_threshold_for_all_layers_still_takes_whole_rows_and_promises_no_more_than_it_takes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 40), nn.Linear(40, 30))
    masks = Masks(model, Pruning(pattern=WholeRows(), allocation=Global(), schedule=Constant(final=0.5)))
    masks.update(0.5)
    assert all(torch.equal(keep.all(1), keep.any(1)) for keep in masks.keep.values())
    assert 0 < masks.fewest_zeros(0.5) <= masks.num_pruned()


def test_a_sparsity_that_takes_every_row_of_a_layer_is_refused_by_name():
    with pytest.raises(CompressionError, match=r"0\.9 rounds to all 4 groups of the pattern rows of 1"):
        prune(nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 4)), Pruning(pattern=WholeRows(), schedule=Constant(final=0.9)))
