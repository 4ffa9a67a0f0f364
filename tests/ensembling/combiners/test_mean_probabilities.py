"""p_c = sum_m w_m p_mc."""

import torch

from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities


def reference(each, shares):
    return [sum(share * row[c] for share, row in zip(shares, each, strict=True)) for c in range(len(each[0]))]


def test_it_is_the_weighted_mean():
    members = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    found = MeanProbabilities().combine(members, torch.tensor([3.0, 1.0])).exp()
    torch.testing.assert_close(found, torch.tensor([0.8, 0.2]))  # 3/4 * 0.9 + 1/4 * 0.5


def test_what_is_impossible_for_one_member_is_possible_for_the_mixture():
    members = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    torch.testing.assert_close(MeanProbabilities().combine(members).exp(), torch.tensor([0.5, 0.5]))


def test_members_at_odds_by_ten_thousand_are_not_rounded_to_zero():
    found = MeanProbabilities().combine(torch.tensor([[0.0, 1e4, 0.0], [0.0, 1e4, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([-1e4, 0.0, -1e4]))
