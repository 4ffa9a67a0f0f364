"""The one selection every pattern needs, against a stable sort."""

import pytest
import torch

from hf_compress.pruning.pattern import Pattern, keep_largest


def by_stable_sort(score, num_pruned):
    """The definition: sort by score, of equal scores the lower index first, and keep the front."""
    flat = score.flatten().tolist()
    order = sorted(range(len(flat)), key=lambda index: (-flat[index], index))
    keep = torch.zeros(len(flat), dtype=torch.bool)
    keep[order[: max(len(flat) - num_pruned, 0)]] = True
    return keep.view_as(score)


def test_the_two_lowest_of_five_go():
    score = torch.tensor([[3.0, 1.0, 5.0, 2.0, 4.0]])
    assert keep_largest(score, 2).tolist() == [[True, False, True, False, True]]


def test_of_equal_scores_the_first_stays():
    score = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert keep_largest(score, 2).tolist() == [[True, False], [True, False]]


@pytest.mark.parametrize("distinct", [1, 2, 5, 10_000])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (13, 8), (40, 25)])
def test_it_agrees_with_a_stable_sort_whatever_the_ties(shape, distinct):
    generator = torch.Generator().manual_seed(0)
    score = torch.randint(distinct, shape, generator=generator).float()
    for num_pruned in {0, 1, score.numel() // 3, score.numel() // 2, score.numel() - 1, score.numel()}:
        keep = keep_largest(score, num_pruned)
        assert torch.equal(keep, by_stable_sort(score, num_pruned)), num_pruned
        assert int((~keep).sum()) == num_pruned


def test_infinite_scores_are_kept():
    score = torch.tensor([[float("inf"), 1.0, float("inf"), 2.0]])
    assert keep_largest(score, 1).tolist() == [[True, False, True, True]]
    assert keep_largest(score, 3).tolist() == [[True, False, False, False]]


def test_a_transposed_score_is_ranked_by_its_own_indices():
    score = torch.zeros(3, 2).t()
    assert torch.equal(keep_largest(score, 3), by_stable_sort(score, 3))
    assert keep_largest(score, 3).tolist() == [[True, True, True], [False, False, False]]


def test_a_pattern_without_mask_names_itself():
    class Forgetful(Pattern):
        pass

    with pytest.raises(TypeError, match=r"Forgetful defines no mask\(\)"):
        Forgetful().mask(torch.zeros(1, 1), 0.5)
