"""int8 weights in groups; activations as they are."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.schemes.w8a16 import W8A16
from tests.quantization.layer import prepared_layer


def test_a_group_of_four_by_hand():
    # Scales 127.5 / 127.5 = 1 and 255 / 127.5 = 2.
    layer = prepared_layer(W8A16(group_size=4), [[127.5, -3.4, 0.6, 0.0, -255.0, 3.2, 0.9, 1.1]])
    assert layer(torch.eye(8)).flatten().tolist() == [127.0, -3.0, 1.0, 0.0, -256.0, 4.0, 0.0, 2.0]


def test_it_is_closer_to_the_weights_than_four_bits_by_the_ratio_of_the_steps():
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    layer = prepared_layer(W8A16(group_size=32), weight.tolist())
    steps = weight.abs().amax(-1, keepdim=True) / 127.5
    # Half a step anywhere but at the clipped maximum, where it is half a step too: 127.5 becomes 127.
    assert ((layer(torch.eye(32)).t() - weight).abs() <= steps * 0.5001).all()


def test_inputs_the_group_does_not_divide_are_refused():
    model = torch.nn.Sequential(torch.nn.Linear(96, 4))
    with pytest.raises(
        CompressionError, match="group_size=128 does not divide the 96 inputs of 0; set scheme.group_size to 32"
    ):
        prepare(model, Quantization(scheme="W8A16"))
