"""int4 weights in groups; activations as they are."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.quantization.schemes.w4a16 import W4A16
from tests.quantization.layer import prepared_layer


def test_a_group_of_four_by_hand():
    # Two groups with scales 7.5 / 7.5 = 1 and 15 / 7.5 = 2; 7.5 rounds to 8, which int4 does not have.
    layer = prepared_layer(W4A16(group_size=4), [[7.5, -3.4, 1.2, 0.0, -15.0, 3.2, 0.9, 1.1]])
    outputs = layer(torch.eye(8)).flatten()
    assert outputs.tolist() == [7.0, -3.0, 1.0, 0.0, -16.0, 4.0, 0.0, 2.0]


def test_inputs_stay_as_they_are():
    layer = prepared_layer(W4A16(group_size=4), [[7.5, 0.0, 0.0, 0.0]])
    assert layer(torch.tensor([[0.123456789, 9.0, 9.0, 9.0]])).item() == torch.tensor(0.123456789).mul(7).item()


def test_the_preset_groups_by_128():
    weights = W4A16().to_compressed_tensors(["Linear"]).weights
    assert (weights.num_bits, weights.group_size, weights.symmetric) == (4, 128, True)


@pytest.mark.parametrize("group_size", [0, -1, True, "32", 32.0])
def test_a_group_size_that_is_no_count_is_refused(group_size):
    with pytest.raises(CompressionError, match=r"group_size=.* is not a number of weights; write 32, 64 or 128"):
        W4A16(group_size=group_size)
