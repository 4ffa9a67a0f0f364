"""Whole tensors: the part is the tensor."""

import torch
from torch import nn

from hf_compress._sharding.across import ALONE
from hf_compress._sharding.backends.plain import Plain
from hf_compress._sharding.contract import is_sharded, local, sharding_of


def lay_out(model):
    return model


def test_the_part_is_the_weight_itself():
    layer = nn.Linear(2, 2)
    found = sharding_of(layer.weight)
    assert isinstance(found, Plain) and not is_sharded(layer)
    assert found.across(layer.weight) is ALONE and found.dimension(layer.weight) is None
    assert local(layer.weight).data_ptr() == layer.weight.data_ptr() and not local(layer.weight).requires_grad


def test_an_edit_reaches_the_weight():
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        Plain().edit(layer.weight, lambda part: part.fill_(3.0))
    assert layer.weight.tolist() == [[3.0, 3.0], [3.0, 3.0]]
