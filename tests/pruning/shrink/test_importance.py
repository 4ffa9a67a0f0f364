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


def test_a_unit_is_worth_the_squares_of_all_that_goes_with_it_and_nothing_where_a_part_is_zero():
    gate, up = linear([[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]]), linear([[0.0, 2.0], [0.0, 0.0], [0.0, 0.0]], [0.0, 5.0, 0.0])
    down = linear([[1.0, 0.0, 9.0], [0.0, 6.0, 9.0], [0.0, 8.0, 9.0]])
    assert unit_importance([gate, up], down).tolist() == [25.0 + 4.0 + 1.0, 1.0 + 25.0 + 100.0, 0.0]


def test_a_layer_that_is_stored_the_other_way_round_is_worth_the_same():
    down, turned = nn.Linear(6, 4), Conv1D(4, 6)
    turned.weight.data = down.weight.data.t().clone()
    up = nn.Linear(3, 6)
    assert torch.equal(unit_importance([up], down), unit_importance([up], turned))


def test_a_group_is_worth_the_squares_of_its_rows_and_columns():
    generator = torch.Generator().manual_seed(0)
    groups, per_group, size, width = 2, 3, 4, 8
    query, key = nn.Linear(width, groups * per_group * size), nn.Linear(width, groups * size, bias=False)
    value, output = nn.Linear(width, groups * size), nn.Linear(groups * per_group * size, width, bias=False)
    for module in (query, key, value, output):
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    slow = []
    for group in range(groups):
        one, all_ = slice(group * size, (group + 1) * size), slice(group * size * per_group, (group + 1) * size * per_group)
        parts = [query.weight[all_], query.bias[all_], key.weight[one], value.weight[one], value.bias[one]]
        slow.append(sum(part.square().sum() for part in (*parts, output.weight[:, all_])))
    found = group_importance([query, key, value], output, groups)
    torch.testing.assert_close(found, torch.stack(slow).detach(), rtol=1e-5, atol=0)
    value.weight.data[:size], value.bias.data[:size] = 0, 0
    assert group_importance([query, key, value], output, groups)[0] == 0


@pytest.mark.parametrize("by_head", [False, True])
def test_a_group_is_worth_the_same_where_one_module_holds_all_three(by_head):
    heads, size, width = 3, 4, 12
    query, key, value, output = (nn.Linear(width, width) for _ in range(4))
    fused = nn.Linear(width, 3 * width)
    for name in ("weight", "bias"):
        parts = torch.stack([getattr(part, name).detach().unflatten(0, (heads, size)) for part in (query, key, value)])
        parts = parts.transpose(0, 1) if by_head else parts  # (3, heads, size, ...), or (heads, 3, size, ...)
        getattr(fused, name).data = parts.flatten(0, 2)
    expected = group_importance([query, key, value], output, heads)
    torch.testing.assert_close(group_importance([fused], output, heads, by_head=by_head), expected)


def test_of_equal_ones_the_first_stay_and_places_ascend():
    assert most_important(torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0]), 3, "units") == (0, 1, 3)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(CompressionError, match="layer 3, heads: the weights hold NaN or infinity"):
        most_important(torch.tensor([1.0, float("nan")]), 1, "layer 3, heads")
