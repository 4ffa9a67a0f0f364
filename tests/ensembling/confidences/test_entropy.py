"""1 - H(p) / log C."""

import math

import torch

from hf_compress.ensembling.confidences.entropy import Entropy


def reference(probabilities):
    return 1 + sum(p * math.log(p) for p in probabilities) / math.log(len(probabilities))


def test_half_of_the_classes_alike_is_half_of_the_entropy_of_four():
    rows = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).log()
    torch.testing.assert_close(Entropy().score(rows), torch.tensor([0.5]))  # 1 - log 2 / log 4


def test_it_tells_apart_what_the_likeliest_class_does_not():
    rows = torch.tensor([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25]]).log()
    one_rival, two_rivals = Entropy().score(rows)
    assert one_rival > two_rivals
