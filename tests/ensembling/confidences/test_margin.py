"""p_(1) - p_(2)."""

import torch

from hf_compress.ensembling.confidences.margin import Margin


def reference(probabilities):
    *_, second, first = sorted(probabilities)
    return first - second


def test_it_is_how_far_the_likeliest_class_is_ahead():
    rows = torch.tensor([[0.2, 0.7, 0.1], [0.48, 0.04, 0.48]]).log()
    torch.testing.assert_close(Margin().score(rows), torch.tensor([0.5, 0.0]))
