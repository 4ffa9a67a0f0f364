"""int8 weights per channel; int8 activations per token."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.schemes.w8a8 import W8A8
from tests.quantization.layer import prepared_layer


def test_two_channels_and_one_token_by_hand():
    layer = prepared_layer(W8A8(), [[127.5, -3.4, 0.6, 0.0], [-255.0, 3.2, 0.9, 1.1]])
    # The channels become 127, -3, 1, 0 (scale 1) and -256, 4, 0, 2 (scale 2); the token becomes 127, 1, -3, 0.
    outputs = layer(torch.tensor([[127.5, 1.4, -2.6, 0.4]]))
    assert outputs.tolist() == [[127 * 127 - 3 * 1 + 1 * -3, -256 * 127 + 4 * 1]]


def test_scaling_one_channel_scales_one_output():
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    plain = prepared_layer(W8A8(), weight.tolist())(tokens)
    scaled = prepared_layer(W8A8(), (weight * torch.tensor([[1.0], [4.0], [1.0]])).tolist())(tokens)
    # Powers of two scale floating-point numbers exactly.
    assert torch.equal(scaled, plain * torch.tensor([1.0, 4.0, 1.0]))


def test_a_group_size_is_refused_because_there_are_no_groups():
    with pytest.raises(
        CompressionError, match="scheme W8A8 has one scale per channel, not per group; leave group_size out"
    ):
        Quantization(scheme=W8A8(group_size=64))
