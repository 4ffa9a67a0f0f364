"""log p_c = sum_m w_m z_mc - log sum_c' exp(sum_m w_m z_mc')."""

import math

import torch

from hf_compress.ensembling.combiners.mean_logits import MeanLogits


def reference(each, shares):
    """The normalised geometric mean of probabilities, which is another way to the same."""
    means = [math.prod(row[c] ** share for share, row in zip(shares, each, strict=True)) for c in range(len(each[0]))]
    return [mean / sum(means) for mean in means]


def test_it_is_the_softmax_of_the_weighted_mean():
    found = MeanLogits().combine(torch.tensor([[4.0, 0.0], [0.0, 4.0]]), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([3.0, 1.0]).log_softmax(-1))


def test_a_number_added_to_all_logits_of_a_member_changes_nothing():
    members = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]])
    moved = members + torch.tensor([[100.0], [-7.0]])
    torch.testing.assert_close(MeanLogits().combine(moved), MeanLogits().combine(members))


def test_what_is_impossible_for_one_member_is_impossible():
    found = MeanLogits().combine(torch.tensor([[0.0, -math.inf, 0.0], [0.0, 5.0, 0.0]])).exp()
    torch.testing.assert_close(found, torch.tensor([0.5, 0.0, 0.5]))
    assert MeanLogits().combine(torch.tensor([[0.0, -math.inf], [-math.inf, 0.0]])).isnan().all()
