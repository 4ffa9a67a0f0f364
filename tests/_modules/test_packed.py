"""The matrices of packed experts, shown one by one."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import matrix_shape, own_matrix
from hf_compress._modules.packed import ExpertMatrix, expert_matrices, parameter_of, unpacked


class Experts(nn.Module):
    def __init__(self, is_transposed):
        super().__init__()
        self.is_transposed = is_transposed
        self.up_proj = nn.Parameter(torch.arange(24.0).view(2, 3, 4))
        self.up_proj_bias = nn.Parameter(torch.zeros(2, 3))


@pytest.mark.parametrize("is_transposed", [False, True])
def test_a_matrix_shares_the_memory_of_weight_and_gradient(is_transposed):
    experts = Experts(is_transposed)
    shown = expert_matrices("experts", experts)
    assert list(shown) == ["experts.up_proj.0", "experts.up_proj.1"]
    second = shown["experts.up_proj.1"]
    expected = experts.up_proj.detach()[1].clone()
    assert torch.equal(second.weight, expected.t() if is_transposed else expected)
    assert matrix_shape(second) == ((4, 3) if is_transposed else (3, 4))
    assert second.weight.grad is None and second.weight.requires_grad
    experts.up_proj.grad = torch.ones(2, 3, 4)
    second.weight.grad.mul_(2)
    own_matrix(second)[0, 1] = -7
    assert experts.up_proj.grad.sum((1, 2)).tolist() == [12, 24]
    assert experts.up_proj[(1, 1, 0) if is_transposed else (1, 0, 1)] == -7
    assert parameter_of(second) is experts.up_proj
    assert not list(second.parameters()) and not second.state_dict()


def test_it_multiplies_as_the_expert_does():
    experts, inputs = Experts(True), torch.randn(5, 3)
    torch.testing.assert_close(ExpertMatrix(experts, "up_proj", 1)(inputs), inputs @ experts.up_proj[1])


def test_other_modules_stay_what_they_are():
    linear, table = nn.Linear(2, 2), nn.Module()
    table.weight = nn.Parameter(torch.zeros(2, 3, 4))  # nothing says which way round
    assert expert_matrices("table", table) == {}
    assert unpacked({"linear": linear, "table": table}, (), "pruning") == {"linear": linear, "table": table}


def test_a_weight_that_an_optimizer_has_copies_of_is_refused():
    experts = Experts(False)
    experts.up_proj._hp_mapping = None  # what DeepSpeed notes
    with pytest.raises(
        CompressionError, match="pruning: mlp.experts holds all experts in one parameter, .* zero lays it out"
    ):
        unpacked({"mlp.experts": experts}, (), "pruning")
