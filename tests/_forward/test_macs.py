"""MACs against a count by hand."""

import pytest
import torch

from hf_compress._forward.macs import count_macs
from hf_compress.evaluation.cost.batches import batch_of
from tests.tiny import tiny_llama


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_macs_of_a_llama_are_those_counted_by_hand(attention):
    model = tiny_llama().eval()
    model.set_attn_implementation(attention)
    rows, tokens, layers, heads, width = 2, 12, 2, 4, 8
    linear = layers * (32 * 32 + 16 * 32 + 16 * 32 + 32 * 32 + 3 * 64 * 32) + 64 * 32
    pairs = layers * rows * heads * tokens * tokens * 2 * width  # queries with keys, and the shares with values
    rotary = rows * tokens * width // 2  # positions times inverse frequencies, a product of matrices
    assert count_macs(model, batch_of(model, rows, tokens)) in (
        rows * tokens * linear + pairs,
        rows * tokens * linear + pairs + rotary,
    )


def test_a_convolution_counts_every_place_of_its_kernel():
    class Conv(torch.nn.Conv2d):
        def forward(self, pixel_values):
            return super().forward(pixel_values)

    assert count_macs(Conv(3, 5, 2), {"pixel_values": torch.ones(1, 3, 4, 4)}) == 5 * 3 * 3 * (3 * 2 * 2)
