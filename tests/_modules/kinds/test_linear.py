"""A Linear is stored as its matrix."""

import torch
from torch import nn

from hf_compress._modules.kinds.linear import Linear


def test_nothing_is_moved_or_copied():
    weight = nn.Linear(3, 2).weight
    assert Linear().matrix(weight) is weight
    assert Linear().stored(weight, (2, 3)) is weight


def test_its_channels_are_its_inputs():
    assert Linear().num_channels((2, 3)) == 3
    rows = torch.arange(6.0).view(2, 3)
    assert Linear().channel_rows(rows, (2, 3)) is rows
