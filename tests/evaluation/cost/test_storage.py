"""Kinds of tensors, counted by hand."""

from hf_compress import Quantization, quantize, save_compressed, save_dense
from hf_compress._modules.types import cast_weights
from hf_compress._safetensors import read_entries
from hf_compress.checkpoints.source import open_source
from hf_compress.evaluation.cost.storage import measure_storage
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_llama

# Per layer q, k, v, o, gate, up, down of the tiny Llama; two layers.
LINEAR = 2 * (32 * 32 + 16 * 32 + 16 * 32 + 32 * 32 + 3 * 64 * 32)
TABLE = HEAD = 64 * 32
NORMS = 5 * 32


def measured(folder):
    return measure_storage(folder, open_source(folder, "model"), read_entries(folder))


def test_a_dense_checkpoint_is_weights_embeddings_and_norms(tmp_path):
    found = measured(save_dense(tiny_llama(), tmp_path / "model"))
    headers = found["by_kind"].pop("headers")
    assert found["by_kind"] == {
        "dense weights": 4 * (LINEAR + HEAD),
        "embeddings": 4 * TABLE,
        "biases and norms": 4 * NORMS,
    }
    assert found["file_bytes"] == (tmp_path / "model" / "model.safetensors").stat().st_size
    assert found["file_bytes"] == headers + 4 * (LINEAR + HEAD + TABLE + NORMS)
    assert found["bits_per_weight"] == 32


def test_an_int4_checkpoint_counts_what_it_stands_for(tmp_path):
    model = cast_weights(tiny_llama(), "bfloat16")
    quantize(model, Quantization(scheme=W4A16(group_size=32)))
    found = measured(save_compressed(model, tmp_path / "model"))
    scales = LINEAR // 32 * 2
    assert found["by_kind"]["packed weights"] == LINEAR // 2
    assert found["by_kind"]["scales"] == scales
    assert found["by_kind"]["shapes and orders"] == 14 * 16
    assert found["num_weights"] == LINEAR + HEAD + TABLE + NORMS
    dense = 2 * (HEAD + TABLE + NORMS)
    assert found["bits_per_weight"] == 8 * (LINEAR // 2 + scales + 14 * 16 + dense) / found["num_weights"]
