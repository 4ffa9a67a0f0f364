"""The Conv1D of transformers stores the transpose."""

import torch
from torch import nn

from hf_compress._modules.kinds.conv1d import Conv1D
from hf_compress._modules.module_kind import kind_of


def test_by_hand():
    stored = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # 3 inputs, 2 outputs
    assert Conv1D().matrix(stored).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    assert Conv1D().stored(Conv1D().matrix(stored), (3, 2)).tolist() == stored.tolist()
    assert Conv1D().num_channels((3, 2)) == 3


def test_the_convolution_of_torch_is_another():
    assert not isinstance(kind_of(nn.Conv1d(2, 2, 1)), Conv1D)
