"""What combiners share."""

import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import check_weights, normalised, weighted_sum


def test_shares_sum_to_one_and_multiply_with_logits():
    logits = torch.zeros(2, 3, 5)
    assert torch.equal(normalised(torch.tensor([1, 3]), logits), torch.tensor([0.25, 0.75]).reshape(2, 1, 1))
    assert torch.equal(normalised(None, logits), torch.full((2, 1, 1), 0.5))
    by_row = normalised(torch.tensor([[1.0, 0.0, 2.0], [1.0, 3.0, 2.0]]), logits)
    assert torch.equal(by_row, torch.tensor([[0.5, 0.0, 0.5], [0.5, 1.0, 0.5]]).unsqueeze(-1))


def test_a_share_of_zero_leaves_out_what_is_impossible_but_not_what_is_unknown():
    values = torch.tensor([[-math.inf, math.nan, 1.0], [2.0, 2.0, -math.inf]])
    found = weighted_sum(values, torch.tensor([[0.0], [1.0]]))
    assert found[0] == 2 and found[1].isnan() and found[2] == -math.inf


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1.0], "1 weights for 2 members"),
        ([1.0, -0.5], "weight 1 is -0.5; weights are finite numbers, 0 or more"),
        ([math.inf, 1.0], "weight 0 is inf"),
        ([0.0, 0.0], "all weights are 0"),
        ([1e308, 1.7e308], "the weights sum to inf"),
        ([1e-50, 1e-50], "the weights sum to 2e-50, which is outside"),
    ],
)
def test_weights_that_mean_nothing_are_refused_before_any_model_is_loaded(weights, sentence):
    with pytest.raises(CompressionError, match=sentence):
        check_weights(weights, 2)


def test_no_weights_and_weights_of_any_sum_are_good():
    check_weights(None, 2)
    check_weights([0.0, 7.0], 2)
