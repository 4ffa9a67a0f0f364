"""int4 weights in groups; int8 activations per token."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.schemes.w4a8 import W4A8
from tests.quantization.layer import prepared_layer


def test_weights_and_one_token_by_hand():
    layer = prepared_layer(W4A8(group_size=4), [[7.5, -3.4, 1.2, 0.0]])
    # The weights become 7, -3, 1, 0; the token's scale is 127.5 / 127.5 = 1, so it becomes 127, 1, -3, 0.
    assert layer(torch.tensor([[127.5, 1.4, -2.6, 0.4]])).item() == 7 * 127 - 3 * 1 + 1 * -3


def test_tokens_are_scaled_one_by_one():
    layer = prepared_layer(W4A8(group_size=8), torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).tolist())
    tokens = torch.randn(5, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [[1.0], [100.0], [0.01], [3.0], [7.0]]
    )
    alone = torch.cat([layer(token[None, None])[0] for token in tokens])
    # The same products summed by another matrix kernel.
    torch.testing.assert_close(layer(tokens[None])[0], alone, rtol=1e-4, atol=1e-4)


def test_a_group_size_that_divides_nothing_is_refused_with_the_way_out():
    with pytest.raises(CompressionError, match="does not divide the 10 inputs of 0; add '0' to quantization.ignore"):
        prepare(torch.nn.Sequential(torch.nn.Linear(10, 4)), Quantization(scheme="W4A8"))
