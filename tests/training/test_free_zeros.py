"""Zeros that no mask holds, as text."""

import json

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.training.free_zeros import read_free_zeros, write_free_zeros


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (7, 33)])
def test_what_is_written_is_read_back(shape):
    generator = torch.Generator().manual_seed(0)
    masks = {"a.b": torch.rand(shape, generator=generator) < 0.3, "c": torch.ones(shape, dtype=torch.bool)}
    again = read_free_zeros(json.loads(json.dumps(write_free_zeros(masks))))
    assert again.keys() == masks.keys() and all(torch.equal(again[name], mask) for name, mask in masks.items())


def test_a_whole_layer_of_zeros_takes_no_room():
    assert len(json.dumps(write_free_zeros({"layer": torch.ones(1024, 1024, dtype=torch.bool)}))) < 500


@pytest.mark.parametrize(
    "damage", [{"bits": "AAAA"}, {"bits": "no base64!"}, {"shape": [64, 64]}, {"shape": ["x"]}, {"bits": 3}]
)
def test_damaged_text_is_refused(damage):
    written = write_free_zeros({"layer": torch.ones(4, 4, dtype=torch.bool)})
    written["layer"] |= damage
    with pytest.raises(CompressionError, match="resume from an earlier checkpoint"):
        read_free_zeros(written)
