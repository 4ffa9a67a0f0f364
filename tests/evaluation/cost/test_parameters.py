"""Zeros, set by hand."""

import torch

from hf_compress.evaluation.cost.parameters import count_parameters
from tests.tiny import tiny_gpt2


def test_zeros_are_counted_by_layer_and_what_a_scheme_stores_beside_a_weight_is_not_counted():
    model = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.LayerNorm(2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0, 2], [0, 3, -0.0, 4]]))
        model[0].bias.fill_(1)
    model[0].weight_scale = torch.nn.Parameter(torch.zeros(2, 1))
    found = count_parameters(model)
    assert found == {
        "total": 8 + 2 + 2 + 2,
        "nonzero": 4 + 2 + 2,  # a fresh LayerNorm has two ones and two zeros
        "sparsity": {"0": 0.5},
        "overall_sparsity": 0.5,
    }


def test_a_tied_head_counts_once():
    model = tiny_gpt2()
    assert count_parameters(model)["total"] == model.num_parameters()
    assert "lm_head" not in count_parameters(model)["sparsity"]
