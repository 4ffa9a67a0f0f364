"""max_c p_c."""

import torch

from hf_compress.ensembling.confidences.maximum_probability import MaximumProbability


def reference(probabilities):
    return max(probabilities)


def test_it_is_the_largest_probability():
    rows = torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.3, 0.3]]).log()
    torch.testing.assert_close(MaximumProbability().score(rows), torch.tensor([0.7, 0.4]))
