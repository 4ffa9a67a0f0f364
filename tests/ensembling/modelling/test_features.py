"""What a learner above the members sees."""

import math

import torch

from hf_compress.ensembling.modelling.features import LOWEST, member_entropies, member_features


def test_log_probabilities_stand_one_member_after_the_other():
    logits = torch.randn(2, 5, 7, 3, generator=torch.Generator().manual_seed(0))
    found = member_features(logits)
    assert found.shape == (5, 7, 6)
    torch.testing.assert_close(found[..., :3], logits[0].log_softmax(-1))
    torch.testing.assert_close(found[..., 3:], logits[1].log_softmax(-1))


def test_what_is_as_good_as_impossible_counts_as_the_lowest():
    assert member_features(torch.tensor([[0.0, 1e4, -math.inf]])).tolist() == [LOWEST, 0.0, LOWEST]


def test_entropies_are_of_each_member():
    found = member_entropies(torch.tensor([[[0.0, 0.0]], [[0.0, -math.inf]]]))
    torch.testing.assert_close(found, torch.tensor([[math.log(2), 0.0]]))
