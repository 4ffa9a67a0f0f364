"""What units and heads are worth: by hand, and against what they write."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_compress import CompressionError
from hf_compress.pruning.shrink.importance import group_importance, most_important, unit_importance


def linear(weight, bias=None):
    module = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    module.weight.data = torch.tensor(weight)
    if bias is not None:
        module.bias.data = torch.tensor(bias)
    return module


def test_a_unit_is_worth_its_rows_times_its_column_and_the_bias_counts_with_its_row():
    gate, up = linear([[3.0, 4.0], [1.0, 0.0]]), linear([[0.0, 2.0], [0.0, 0.0]], [0.0, 5.0])
    down = linear([[1.0, 0.0], [0.0, 6.0], [0.0, 8.0]])
    assert unit_importance([gate, up], down).tolist() == [5.0 * 2.0 * 1.0, 1.0 * 5.0 * 10.0]


def test_a_layer_that_is_stored_the_other_way_round_is_worth_the_same():
    down, turned = nn.Linear(6, 4), Conv1D(4, 6)
    turned.weight.data = down.weight.data.t().clone()
    up = nn.Linear(3, 6)
    assert torch.equal(unit_importance([up], down), unit_importance([up], turned))


def test_a_group_is_worth_the_norm_of_what_its_heads_write_for_what_it_reads():
    generator = torch.Generator().manual_seed(0)
    groups, per_group, size, width = 2, 3, 4, 8
    value, output = nn.Linear(width, groups * size), nn.Linear(groups * per_group * size, width, bias=False)
    for parameter in (value.weight, value.bias, output.weight):
        parameter.data = torch.randn(parameter.shape, generator=generator)
    slow = []
    for group in range(groups):
        rows = slice(group * size, (group + 1) * size)
        read = torch.cat([value.weight[rows], value.bias[rows, None]], dim=1)
        heads = [group * per_group + head for head in range(per_group)]
        written = [output.weight[:, head * size : (head + 1) * size] @ read for head in heads]
        slow.append(sum(one.square().sum() for one in written).sqrt())
    torch.testing.assert_close(group_importance(value, output, groups), torch.stack(slow).detach(), rtol=1e-5, atol=0)


def test_a_heads_basis_does_not_change_what_it_is_worth():
    value, output = nn.Linear(8, 8), nn.Linear(8, 8)
    before = group_importance(value, output, 2)
    turn = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0] * 2
    value.weight.data[:4], value.bias.data[:4] = turn @ value.weight.data[:4], turn @ value.bias.data[:4]
    output.weight.data[:, :4] = output.weight.data[:, :4] @ torch.linalg.inv(turn)
    torch.testing.assert_close(group_importance(value, output, 2), before, rtol=1e-4, atol=0)


def test_of_equal_ones_the_first_stay_and_places_ascend():
    assert most_important(torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0]), 3, "units") == (0, 1, 3)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(CompressionError, match="layer 3, heads: the weights hold NaN or infinity"):
        most_important(torch.tensor([1.0, float("nan")]), 1, "layer 3, heads")
