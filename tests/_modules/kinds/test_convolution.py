"""A convolution's kernel is folded into its inputs."""

import torch

from hf_compress._modules.kinds.convolution import Convolution


def test_by_hand():
    # One output, two channels, a kernel of three positions.
    stored = torch.tensor([[[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]])
    matrix = Convolution().matrix(stored)
    assert matrix.tolist() == [[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]]
    rows = Convolution().channel_rows(matrix, stored.shape)
    assert rows.tolist() == [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]
    assert Convolution().from_channel_rows(rows, stored.shape).tolist() == matrix.tolist()
