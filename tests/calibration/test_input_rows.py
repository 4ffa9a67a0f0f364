"""Rows of a layer's inputs times its weight matrix are its outputs."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import weight_matrix
from hf_compress.calibration.input_rows import check_rows, rows_of
from hf_compress.calibration.inputs import ObservedInputs
from hf_compress.calibration.statistics.gram import GramMatrix

LAYERS = {
    "linear": (nn.Linear(5, 3), (2, 4, 5)),
    "transposed": (Conv1D(3, 5), (2, 4, 5)),
    "conv1d": (nn.Conv1d(4, 3, 3, padding=1, stride=2), (2, 4, 9)),
    "conv2d": (nn.Conv2d(3, 5, (3, 2), padding=(1, 0), stride=(2, 1), dilation=(1, 2)), (2, 3, 8, 7)),
    "same": (nn.Conv2d(3, 5, (4, 3), padding="same", dilation=2), (2, 3, 8, 7)),
    "valid": (nn.Conv2d(3, 5, 2, padding="valid"), (2, 3, 4, 4)),
    "reflected": (nn.Conv2d(3, 5, 3, padding=(2, 1), padding_mode="reflect"), (2, 3, 8, 7)),
    "circular": (nn.Conv1d(3, 5, 3, padding=1, padding_mode="circular"), (2, 3, 8)),
    "conv3d": (nn.Conv3d(2, 3, (2, 3, 1), padding=(0, 1, 0), stride=(1, 2, 1)), (2, 2, 4, 5, 3)),
    "no batch": (nn.Conv2d(3, 5, 3), (3, 6, 6)),
}


@pytest.mark.parametrize(("module", "shape"), LAYERS.values(), ids=LAYERS)
def test_rows_times_the_weight_matrix_are_the_outputs(module, shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = module(inputs)
        rows = rows_of("layer", module, inputs, [])
        product = rows @ weight_matrix(module).T + module.bias
    convolves = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    if convolves:
        outputs = (outputs if outputs.dim() == len(module.kernel_size) + 2 else outputs[None]).movedim(1, -1)
    # Sums of at most 60 products in another order.
    torch.testing.assert_close(product, outputs.reshape(-1, outputs.shape[-1]), rtol=1e-5, atol=1e-5)


def test_convolutions_with_groups_are_refused_before_any_data_are_read():
    modules = {"first": nn.Conv2d(3, 4, 3), "depthwise": nn.Conv2d(4, 4, 3, groups=4)}
    sentence = "depthwise is a convolution of 4 groups that read different inputs.*add 'depthwise' to ignore"
    with pytest.raises(CompressionError, match=sentence):
        check_rows(modules)
    with pytest.raises(CompressionError, match=sentence):
        ObservedInputs(modules, [GramMatrix()])


def test_inputs_that_are_passed_by_name_are_seen_and_hooks_are_gone_afterwards():
    layer = nn.Linear(3, 2)
    observed = ObservedInputs({"layer": layer}, [GramMatrix()])
    with observed.watching(layer, {}):
        layer(input=torch.eye(3))
    layer(torch.ones(5, 3))
    assert observed.totals[0].counts == {"layer": 3}
    assert torch.equal(observed.totals[0].finish()["layer"], torch.eye(3) / 3)
    assert not layer._forward_pre_hooks
