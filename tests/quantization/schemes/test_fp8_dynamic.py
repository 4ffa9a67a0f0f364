"""float8 weights per channel; float8 activations per token."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.schemes.fp8_dynamic import FP8Dynamic
from tests.quantization.layer import prepared_layer


def test_a_channel_and_a_token_by_hand():
    # E4M3 reaches 448, so both scales are 1. Steps of 2 from 16 on: 17 is a tie and goes to the even 16; steps of 1/32
    # from 1/4 on: 0.3 becomes 10/32.
    layer = prepared_layer(FP8Dynamic(), [[448.0, 17.0, 0.3, 0.0]])
    assert layer(torch.tensor([[448.0, 0.0, 0.0, 0.0]])).item() == 448 * 448
    assert layer(torch.tensor([[0.0, 448.0, 0.0, 0.0]])).item() == 16 * 448
    assert layer(torch.tensor([[0.0, 0.0, 448.0, 19.1]])).item() == 0.3125 * 448


def test_the_relative_error_of_a_weight_is_at_most_a_sixteenth():
    weight = torch.rand(4, 64, generator=torch.Generator().manual_seed(0)) + 0.05
    layer = prepared_layer(FP8Dynamic(), weight.tolist())
    # Three bits after the leading one: half of the last is 1/16. One-hot tokens are exact, up to fp32 rounding of scales.
    error = (layer(torch.eye(64)).t() - weight).abs() / weight
    assert error.max() <= 1 / 16 + 1e-6
    assert error.max() > 1 / 64


def test_a_group_size_is_refused_because_there_are_no_groups():
    with pytest.raises(CompressionError, match="scheme FP8_DYNAMIC has one scale per channel, not per group"):
        Quantization(scheme=FP8Dynamic(group_size=32))
