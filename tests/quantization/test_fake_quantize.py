"""Fake quantization against arithmetic written from scratch, and its straight-through gradient."""

import numpy as np
import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.quantization.fake_quantize import fake_quantize_input, fake_quantize_weight, weight_qparams
from hf_compress.quantization.schemes.presets import FP8_DYNAMIC, W4A8, W4A16, W8A8


def weight_args(scheme):
    return scheme.to_compressed_tensors(["Linear"]).weights


def input_args(scheme):
    return scheme.to_compressed_tensors(["Linear"]).input_activations


def rounded_to_grid(rows, num_bits):
    """Symmetric integers: one scale per row, max|w| over half of the range, rounded half to even, clipped; in fp32."""
    low, high = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
    scale = np.abs(rows).max(axis=-1, keepdims=True) / np.float32((high - low) / 2)
    return np.clip(np.rint(rows / scale), low, high) * scale


def test_the_int4_scale_of_a_group_is_its_largest_magnitude_over_seven_and_a_half():
    weight = torch.tensor([[0.0, -3.0, 1.0, 2.0, 0.5, 0.25, 0.75, -0.1]])
    scale, zero_point, global_scale = weight_qparams(weight, weight_args(W4A16(group_size=4)))
    # One division in fp32.
    torch.testing.assert_close(scale, torch.tensor([[3.0 / 7.5, 0.75 / 7.5]]), rtol=1e-6, atol=0)
    assert zero_point.tolist() == [[0, 0]]
    assert global_scale is None


def test_group_int4_equals_the_numpy_reference_bit_for_bit():
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    expected = rounded_to_grid(weight.numpy().reshape(6, 4, 16), num_bits=4).reshape(6, 64)
    assert np.array_equal(fake_quantize_weight(weight, weight_args(W4A16(group_size=16))).numpy(), expected)


def test_channel_int8_equals_the_numpy_reference_bit_for_bit():
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    expected = rounded_to_grid(weight.numpy(), num_bits=8)
    assert np.array_equal(fake_quantize_weight(weight, weight_args(W8A8())).numpy(), expected)


@pytest.mark.parametrize("scheme", [W8A8(), W4A8(group_size=16)])
def test_int8_inputs_equal_the_numpy_reference_per_token_bit_for_bit(scheme):
    tokens = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    quantized = fake_quantize_input(tokens, input_args(scheme), nn.Linear(64, 4))
    assert np.array_equal(quantized.numpy(), rounded_to_grid(tokens.numpy(), num_bits=8))


def test_fp8_inputs_are_what_torch_casts_to_float8():
    tokens = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    scale = tokens.abs().amax(-1, keepdim=True) / 448
    expected = (tokens / scale).to(torch.float8_e4m3fn).float() * scale
    # (B, T, I): compressed-tensors takes one scale per token there, and one for the whole tensor in two dimensions.
    batch = fake_quantize_input(tokens[None], input_args(FP8_DYNAMIC()), nn.Linear(64, 4))
    torch.testing.assert_close(batch[0], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("scheme", [W4A16(group_size=16), W8A8(), FP8_DYNAMIC()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_type_of_a_weight_stays_and_its_scale_has_it_too(scheme, dtype):
    weight = torch.randn(4, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    scale, _, _ = weight_qparams(weight, weight_args(scheme))
    assert (fake_quantize_weight(weight, weight_args(scheme)).dtype, scale.dtype) == (dtype, dtype)


@pytest.mark.parametrize("scheme", [W4A16(group_size=16), W8A8(), FP8_DYNAMIC()])
def test_the_gradient_of_a_weight_passes_straight_through(scheme):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 32, generator=generator, requires_grad=True)
    upstream = torch.randn(4, 32, generator=generator)
    quantized = fake_quantize_weight(weight, weight_args(scheme))
    assert not torch.equal(quantized, weight)
    quantized.backward(upstream)
    assert torch.equal(weight.grad, upstream)


@pytest.mark.parametrize("scheme", [W8A8(), FP8_DYNAMIC()])
def test_the_gradient_of_an_input_passes_straight_through(scheme):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(4, 32, generator=generator, requires_grad=True)
    upstream = torch.randn(4, 32, generator=generator)
    quantized = fake_quantize_input(tokens, input_args(scheme), nn.Linear(32, 4))
    assert not torch.equal(quantized, tokens)
    quantized.backward(upstream)
    assert torch.equal(tokens.grad, upstream)


@pytest.mark.parametrize("scheme", [W4A16(group_size=16), W8A8(), FP8_DYNAMIC()])
def test_quantizing_does_not_change_the_weight_itself(scheme):
    weight = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    before = weight.clone()
    fake_quantize_weight(weight, weight_args(scheme))
    assert torch.equal(weight, before)


def test_a_strategy_that_cannot_be_trained_is_refused():
    args = weight_args(W8A8()).model_copy(update={"strategy": "block"})
    with pytest.raises(CompressionError, match="strategy 'block' cannot be trained; use tensor, channel or group"):
        weight_qparams(torch.ones(4, 4), args)
