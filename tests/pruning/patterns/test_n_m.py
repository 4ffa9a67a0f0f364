"""n:m semi-structured sparsity."""

import itertools

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress._sharding.across import ALONE
from hf_compress.pruning.patterns.n_m import NM


def test_two_four_mask_keeps_the_two_largest_of_each_four():
    score = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0, 5.0, 6.0, 7.0]])
    expected = [[True, False, True, False, False, False, True, True]]
    assert NM(n=2, m=4).mask(score, 0.5).tolist() == expected


def test_of_equal_scores_in_a_group_the_first_stay():
    assert NM(n=2, m=4).mask(torch.ones(1, 4), 0.5).tolist() == [[True, True, False, False]]


def test_on_the_way_the_lowest_scores_the_full_pattern_would_prune_go_first():
    score = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.5, 5.0, 6.0, 7.0]])
    # The full pattern prunes 1, 2, 0.5 and 5; a quarter of 8 is two: 0.5 and 1.
    expected = [[True, False, True, True, False, True, True, True]]
    assert NM(n=2, m=4).mask(score, 0.25).tolist() == expected


@pytest.mark.parametrize(("n", "m"), [(1, 2), (2, 4), (1, 4), (3, 4), (4, 8)])
def test_every_group_of_m_keeps_the_best_subset_of_n(n, m):
    score = torch.rand(6, 3 * m, generator=torch.Generator().manual_seed(0))
    keep = NM(n=n, m=m).mask(score, 1 - n / m)
    for group, kept in zip(score.view(-1, m), keep.view(-1, m), strict=True):
        best = max(itertools.combinations(range(m), n), key=lambda subset: group[list(subset)].sum())
        assert kept.nonzero().flatten().tolist() == list(best)


def test_a_growing_sparsity_only_adds_zeros_and_ends_in_the_pattern():
    score = torch.rand(8, 16, generator=torch.Generator().manual_seed(0))
    pattern = NM(n=2, m=4)
    masks = [pattern.mask(score, sparsity) for sparsity in (0.0, 0.1, 0.25, 0.4, 0.5)]
    assert [int((~mask).sum()) for mask in masks] == [round(share * 128) for share in (0.0, 0.1, 0.25, 0.4, 0.5)]
    for before, after in itertools.pairwise(masks):
        assert not (after & ~before).any()


def test_the_pattern_runs_along_the_inputs_and_not_along_the_outputs():
    score = torch.tensor([[9.0, 9.0, 1.0, 1.0]]).repeat(4, 1)
    assert NM(n=2, m=4).mask(score, 0.5).tolist() == [[True, True, False, False]] * 4


def test_a_final_sparsity_that_is_not_the_patterns_is_refused():
    with pytest.raises(
        CompressionError, match=r"2:4 pattern has sparsity 0\.5, but the schedule ends at 0\.7; set schedule\.final"
    ):
        NM(n=2, m=4).check(0.7)
    NM(n=1, m=3).check(1 - 1 / 3)


def test_inputs_that_m_does_not_divide_are_refused():
    with pytest.raises(CompressionError, match="m=4 does not divide the 6 inputs"):
        NM(n=2, m=4).mask(torch.ones(2, 6), 0.5)


@pytest.mark.parametrize(("n", "m"), [(0, 4), (4, 4), (5, 4), (-1, 4)])
def test_what_is_no_pattern_is_refused(n, m):
    with pytest.raises(CompressionError, match=f"n={n}, m={m} is not an n:m pattern"):
        NM(n=n, m=m)


def test_a_part_that_ends_inside_a_group_is_left_to_the_whole_layer():
    assert NM(n=2, m=4).mask_of_part(torch.ones(2, 6), 0.5, ALONE) is None
    assert NM(n=2, m=4).mask_of_part(torch.ones(1, 4), 0.5, ALONE).tolist() == [[True, True, False, False]]
