"""Bits and zeros of layers, by hand."""

import pytest

from hf_compress import Quantization, quantize, save_compressed, save_dense
from hf_compress._modules.types import cast_weights
from hf_compress.evaluation.layers import measure_layers
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_llama


def test_packed_layers_have_the_bits_of_their_scheme_and_dense_ones_those_of_their_type(tmp_path):
    model = cast_weights(tiny_llama(), "bfloat16")
    quantize(model, Quantization(scheme=W4A16(group_size=16)))
    layers = measure_layers(save_compressed(model, tmp_path / "a"), {"model.layers.0.self_attn.q_proj": 0.25})
    known = {layer.name: layer for layer in layers}
    query = known["model.layers.0.self_attn.q_proj"]
    # 32 x 32 weights of 4 bits, a scale of 16 bits for each 16 of them, and two int64 for the shape.
    assert query.num_weights == 1024 and query.sparsity == 0.25
    assert query.bits == pytest.approx(4 + 1 + 2 * 64 / 1024)
    assert known["model.embed_tokens"].bits == 16 and known["model.embed_tokens"].sparsity is None
    assert not any("norm" in name for name in known)
    dense = measure_layers(save_dense(tiny_llama(), tmp_path / "b"), {})
    assert {layer.bits for layer in dense} == {32} and len(dense) == len(layers)
    assert measure_layers(tmp_path, {}) == ()
