"""A matrix of packed experts is shown as (O, I), whichever way round they lie."""

import torch
from torch import nn

from hf_compress._modules.kinds.expert import Expert
from hf_compress._modules.matrix import as_stored, weight_matrix
from hf_compress._modules.module_kind import kind_of
from hf_compress._modules.packed import ExpertMatrix


def test_by_hand():
    experts = nn.Module()
    experts.is_transposed = True
    experts.down_proj = nn.Parameter(torch.tensor([[[0.0, 0.0]], [[1.0, 2.0]]]))  # 2 experts, 1 input, 2 outputs
    second = ExpertMatrix(experts, "down_proj", 1)
    assert kind_of(second) == Expert()
    assert weight_matrix(second).tolist() == [[1.0], [2.0]]
    assert torch.equal(as_stored(second, weight_matrix(second)), second.weight)
