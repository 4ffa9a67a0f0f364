"""p_c proportional to prod_m p_mc^(w_m / max w)."""

import math

import torch

from hf_compress.ensembling.combiners.mean_logits import MeanLogits
from hf_compress.ensembling.combiners.product_of_experts import ProductOfExperts


def reference(each, shares):
    exponents = [share / max(shares) for share in shares]
    products = [math.prod(row[c] ** power for power, row in zip(exponents, each, strict=True)) for c in range(len(each[0]))]
    return [product / sum(products) for product in products]


def test_two_experts_that_agree_are_surer_than_one():
    found = ProductOfExperts().combine(torch.tensor([[0.8, 0.2], [0.8, 0.2]]).log()).exp()
    torch.testing.assert_close(found, torch.tensor([0.64, 0.04]) / 0.68)


def test_one_expert_alone_is_as_sure_as_it_is():
    member = torch.tensor([[1.0, 0.0, 3.0]])
    torch.testing.assert_close(ProductOfExperts().combine(member), member[0].log_softmax(-1))


def test_an_expert_of_little_weight_neither_moves_nor_sharpens_the_other():
    members = torch.tensor([[0.8, 0.2], [0.1, 0.9]]).log()
    found = ProductOfExperts().combine(members, torch.tensor([1.0, 1e-6])).exp()
    torch.testing.assert_close(found, torch.tensor([0.8, 0.2]), rtol=0, atol=1e-5)


def test_with_equal_weights_it_is_the_mean_of_logits_at_a_temperature_of_one_over_the_members():
    members = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = (3 * MeanLogits().combine(members)).log_softmax(-1)
    torch.testing.assert_close(ProductOfExperts().combine(members), expected)
