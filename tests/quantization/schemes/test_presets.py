"""Every row of the table by hand, and what a row refuses."""

import copy
import pickle

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.scheme import Scheme
from hf_compress.quantization.schemes.presets import FP8_DYNAMIC, W4A8, W4A16, W8A8, W8A16, Preset
from hf_compress.recipe.build import build
from tests.quantization.layer import prepared_layer


def test_w4a16_a_group_of_four_by_hand():
    # Two groups with scales 7.5 / 7.5 = 1 and 15 / 7.5 = 2; 7.5 rounds to 8, which int4 does not have.
    layer = prepared_layer(W4A16(group_size=4), [[7.5, -3.4, 1.2, 0.0, -15.0, 3.2, 0.9, 1.1]])
    outputs = layer(torch.eye(8)).flatten()
    assert outputs.tolist() == [7.0, -3.0, 1.0, 0.0, -16.0, 4.0, 0.0, 2.0]


def test_w4a16_inputs_stay_as_they_are():
    layer = prepared_layer(W4A16(group_size=4), [[7.5, 0.0, 0.0, 0.0]])
    assert layer(torch.tensor([[0.123456789, 9.0, 9.0, 9.0]])).item() == torch.tensor(0.123456789).mul(7).item()


def test_a_group_size_changes_this_scheme_and_not_the_preset():
    weights = W4A16().to_compressed_tensors(["Linear"]).weights
    assert (weights.num_bits, weights.group_size, weights.symmetric) == (4, 128, True)
    assert W4A16(group_size=32).to_compressed_tensors(["Linear"]).weights.group_size == 32
    assert W4A16().to_compressed_tensors(["Linear"]).weights.group_size == 128
    assert (W4A16().finest(), W8A8().finest()) == (W4A16(group_size=16), W8A8())


@pytest.mark.parametrize("group_size", [0, -1, True, "32", 32.0])
def test_w4a16_a_group_size_that_is_no_count_is_refused(group_size):
    with pytest.raises(CompressionError, match=r"group_size=.* is not a number of weights; write 32, 64 or 128"):
        W4A16(group_size=group_size)


def test_w8a16_a_group_of_four_by_hand():
    # Scales 127.5 / 127.5 = 1 and 255 / 127.5 = 2.
    layer = prepared_layer(W8A16(group_size=4), [[127.5, -3.4, 0.6, 0.0, -255.0, 3.2, 0.9, 1.1]])
    assert layer(torch.eye(8)).flatten().tolist() == [127.0, -3.0, 1.0, 0.0, -256.0, 4.0, 0.0, 2.0]


def test_w8a16_it_is_closer_to_the_weights_than_four_bits_by_the_ratio_of_the_steps():
    weight = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    layer = prepared_layer(W8A16(group_size=32), weight.tolist())
    steps = weight.abs().amax(-1, keepdim=True) / 127.5
    # Half a step anywhere but at the clipped maximum, where it is half a step too: 127.5 becomes 127.
    assert ((layer(torch.eye(32)).t() - weight).abs() <= steps * 0.5001).all()


def test_w8a16_inputs_the_group_does_not_divide_are_refused():
    model = torch.nn.Sequential(torch.nn.Linear(96, 4))
    with pytest.raises(
        CompressionError, match="group_size=128 does not divide the 96 inputs of 0; set scheme.group_size to 32"
    ):
        prepare(model, Quantization(scheme="W8A16"))


def test_w4a8_weights_and_one_token_by_hand():
    layer = prepared_layer(W4A8(group_size=4), [[7.5, -3.4, 1.2, 0.0]])
    # The weights become 7, -3, 1, 0; the token's scale is 127.5 / 127.5 = 1, so it becomes 127, 1, -3, 0.
    assert layer(torch.tensor([[127.5, 1.4, -2.6, 0.4]])).item() == 7 * 127 - 3 * 1 + 1 * -3


def test_w4a8_tokens_are_scaled_one_by_one():
    layer = prepared_layer(W4A8(group_size=8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).tolist())
    tokens = torch.randn(5, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [[1.0], [100.0], [0.01], [3.0], [7.0]]
    )
    alone = torch.cat([layer(token[None, None])[0] for token in tokens])
    # The same products summed by another matrix kernel.
    torch.testing.assert_close(layer(tokens[None])[0], alone, rtol=1e-4, atol=1e-4)


def test_w4a8_a_group_size_that_divides_nothing_is_refused_with_the_way_out():
    with pytest.raises(CompressionError, match="does not divide the 10 inputs of 0; add '0' to quantization.ignore"):
        prepare(torch.nn.Sequential(torch.nn.Linear(10, 4)), Quantization(scheme="W4A8"))


def test_w8a8_two_channels_and_one_token_by_hand():
    layer = prepared_layer(W8A8(), [[127.5, -3.4, 0.6, 0.0], [-255.0, 3.2, 0.9, 1.1]])
    # The channels become 127, -3, 1, 0 (scale 1) and -256, 4, 0, 2 (scale 2); the token becomes 127, 1, -3, 0.
    outputs = layer(torch.tensor([[127.5, 1.4, -2.6, 0.4]]))
    assert outputs.tolist() == [[127 * 127 - 3 * 1 + 1 * -3, -256 * 127 + 4 * 1]]


def test_w8a8_scaling_one_channel_scales_one_output():
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    tokens = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    plain = prepared_layer(W8A8(), weight.tolist())(tokens)
    scaled = prepared_layer(W8A8(), (weight * torch.tensor([[1.0], [4.0], [1.0]])).tolist())(tokens)
    # Powers of two scale floating-point numbers exactly.
    assert torch.equal(scaled, plain * torch.tensor([1.0, 4.0, 1.0]))


def test_w8a8_a_group_size_is_refused_because_there_are_no_groups():
    with pytest.raises(
        CompressionError, match="W8A8 has one scale per channel, not per group; leave group_size out, or use W4A16, W4A8 or"
    ):
        W8A8(group_size=64)


def test_fp8_a_channel_and_a_token_by_hand():
    # E4M3 reaches 448, so both scales are 1. Steps of 2 from 16 on: 17 is a tie and goes to the even 16; steps of 1/32
    # from 1/4 on: 0.3 becomes 10/32.
    layer = prepared_layer(FP8_DYNAMIC(), [[448.0, 17.0, 0.3, 0.0]])
    assert layer(torch.tensor([[448.0, 0.0, 0.0, 0.0]])).item() == 448 * 448
    assert layer(torch.tensor([[0.0, 448.0, 0.0, 0.0]])).item() == 16 * 448
    assert layer(torch.tensor([[0.0, 0.0, 448.0, 19.1]])).item() == 0.3125 * 448


def test_fp8_the_relative_error_of_a_weight_is_at_most_a_sixteenth():
    weight = torch.rand(4, 64, generator=torch.Generator().manual_seed(0)) + 0.05
    layer = prepared_layer(FP8_DYNAMIC(), weight.tolist())
    # Three bits after the leading one: half of the last is 1/16. One-hot tokens are exact, up to fp32 rounding of scales.
    error = (layer(torch.eye(64)).t() - weight).abs() / weight
    assert error.max() <= 1 / 16 + 1e-6
    assert error.max() > 1 / 64


def test_fp8_a_group_size_is_refused_because_there_are_no_groups():
    with pytest.raises(CompressionError, match="scheme FP8_DYNAMIC has one scale per channel, not per group"):
        FP8_DYNAMIC(group_size=32)


def test_the_groups_of_a_format_that_fixes_them_stay():
    class NVFP4A16(Preset, name="NVFP4A16"):
        """A row that is not in the table yet."""

    try:
        assert NVFP4A16().to_compressed_tensors(["Linear"]).weights.group_size == 16
        with pytest.raises(CompressionError, match="scheme NVFP4A16 has groups of 16, which its format fixes; leave"):
            NVFP4A16(group_size=32)
    finally:
        del Scheme._registry["NVFP4A16"]


def test_a_recipe_is_refused_at_the_scheme_that_is_wrong():
    problems = []
    build(Quantization, {"scheme": {"name": "W8A8", "group_size": 32}}, "quantization", problems)
    assert [problem.path for problem in problems] == ["quantization.scheme"]


def test_a_scheme_can_be_copied_and_sent_to_another_process():
    scheme = W4A16(group_size=32)
    assert pickle.loads(pickle.dumps(scheme)) == copy.deepcopy(scheme) == scheme
