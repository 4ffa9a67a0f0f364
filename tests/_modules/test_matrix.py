"""The (O, I) matrix inside each kind of module."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_stored, channel_rows, from_channel_rows, num_channels, weight_matrix

MODULES = {
    "Linear": (lambda: nn.Linear(6, 4), (4, 6)),
    "Conv1D of transformers": (lambda: Conv1D(4, 6), (4, 6)),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 2), (4, 6)),
    "Conv2d": (lambda: nn.Conv2d(3, 4, (2, 5)), (4, 30)),
    "channels-last Conv2d": (lambda: nn.Conv2d(3, 4, 2).to(memory_format=torch.channels_last), (4, 12)),
    "grouped Conv2d": (lambda: nn.Conv2d(4, 8, 3, groups=2), (8, 18)),
    "Conv3d": (lambda: nn.Conv3d(2, 4, 2), (4, 16)),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_matrix_is_out_by_in_and_as_stored_is_the_way_back(name):
    build, shape = MODULES[name]
    module = build()
    matrix = weight_matrix(module)
    assert matrix.shape == shape
    assert torch.equal(as_stored(module, matrix), module.weight)


@pytest.mark.parametrize("name", MODULES)
def test_channel_rows_hold_the_channels_of_one_output_and_kernel_position(name):
    module = MODULES[name][0]()
    matrix = weight_matrix(module)
    rows = channel_rows(module, matrix)
    assert rows.shape[-1] == num_channels(module)
    assert torch.equal(from_channel_rows(module, rows), matrix)
    if isinstance(module, nn.Conv2d):
        last = module.weight.permute(0, 2, 3, 1).reshape(-1, module.weight.shape[1])  # (O, kh, kw, C)
        assert torch.equal(rows, last)


def test_the_matrix_of_conv1d_maps_inputs_to_outputs_like_a_linear():
    module = Conv1D(4, 6)
    inputs = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    # fp32 sums of 6 products in another order.
    torch.testing.assert_close(inputs @ weight_matrix(module).t() + module.bias, module(inputs), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("module", [nn.LayerNorm(4), nn.ConvTranspose2d(2, 4, 3), nn.ReLU()])
def test_modules_without_such_a_matrix_are_refused(module):
    with pytest.raises(CompressionError, match=rf"{type(module).__name__} has no \(out, in\) weight matrix"):
        weight_matrix(module)
