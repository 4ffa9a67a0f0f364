"""Relative importance and activations."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.ria import RIA
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant


def by_loops(weight, norm, a):
    score = torch.zeros_like(weight)
    for i in range(weight.shape[0]):
        for j in range(weight.shape[1]):
            row = sum(abs(float(weight[i, k])) for k in range(weight.shape[1]))
            column = sum(abs(float(weight[k, j])) for k in range(weight.shape[0]))
            size = abs(float(weight[i, j]))
            score[i, j] = (size / row + size / column) * float(norm[j]) ** a
    return score


def test_two_by_two_by_hand():
    weight, norm = torch.tensor([[1.0, -3.0], [1.0, 1.0]]), torch.tensor([4.0, 1.0])
    # Rows sum to 4 and 2, columns to 2 and 4; the roots of the norms are 2 and 1.
    expected = [[2 * (1 / 4 + 1 / 2), 3 / 4 + 3 / 4], [2 * (1 / 2 + 1 / 2), 1 / 2 + 1 / 4]]
    torch.testing.assert_close(RIA().score(weight, {"input_norm": norm}), torch.tensor(expected))


@pytest.mark.parametrize("a", [0.0, 0.5, 1.0])
def test_it_agrees_with_a_loop_over_the_formula(a):
    generator = torch.Generator().manual_seed(0)
    weight, norm = torch.randn(5, 7, generator=generator), torch.rand(7, generator=generator)
    score = RIA(a=a).score(weight, {"input_norm": norm})
    torch.testing.assert_close(score, by_loops(weight, norm, a), rtol=1e-5, atol=1e-7)


def test_a_row_or_column_of_zeros_scores_zero():
    weight = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    assert RIA().score(weight, {"input_norm": torch.ones(2)}).tolist() == [[0.0, 0.0], [0.0, 2.0]]


@pytest.mark.parametrize("per_row", [False, True])
def test_it_is_compared_over_the_layer_and_in_rows_where_asked(per_row):
    torch.manual_seed(0)
    model, norm = nn.Sequential(nn.Linear(8, 6)), torch.rand(8) + 0.1
    with torch.no_grad():
        model[0].weight[:, 0] *= 50
    score = by_loops(model[0].weight.detach(), norm, 0.5)
    job = Pruning(criterion=RIA(per_row=per_row), schedule=Constant(final=0.5))
    keep = prune(model, job, {"input_norm": {"0.weight": norm}})["0"]
    threshold = score.sort(1).values[:, 4:5] if per_row else score.flatten().sort().values[24]
    assert torch.equal(keep, score >= threshold)


def test_an_exponent_that_turns_activations_round_is_refused():
    with pytest.raises(CompressionError, match="a=-0.5 must lie between 0 .weights alone. and 1"):
        RIA(a=-0.5)
