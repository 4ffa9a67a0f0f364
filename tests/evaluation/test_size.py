"""Bytes of a written checkpoint against what its formats say."""

import pytest
import torch
from safetensors.torch import save_file

from hf_compress import Quantization, quantize, save_compressed, save_dense
from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress.evaluation.size import measure_size
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_llama

# Per layer of the tiny Llama, as (O, I): q, k, v, o, gate, up, down.
SHAPES = [(32, 32), (16, 32), (16, 32), (32, 32), (64, 32), (64, 32), (32, 64)]
NUM_WEIGHTS = 2 * sum(rows * columns for rows, columns in SHAPES)
NUM_ROWS = 2 * sum(rows for rows, _ in SHAPES)

SCHEMES = {
    # 4 bits a weight, a bf16 scale for each 16 inputs, and the shape as two int64.
    "int4 in groups": (W4A16(group_size=16), NUM_WEIGHTS // 2 + NUM_WEIGHTS // 16 * 2 + 14 * 16),
    # 8 bits a weight and a bf16 scale per row, unpacked: no shape is stored.
    "int8 per channel": ("W8A8", NUM_WEIGHTS + NUM_ROWS * 2),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_quantized_layers_weigh_what_their_format_says(scheme, tmp_path):
    given, expected = SCHEMES[scheme]
    model = cast_weights(tiny_llama(), "bfloat16")
    quantize(model, Quantization(scheme=given))
    size = measure_size(save_compressed(model, tmp_path / "model"))
    assert size["num_quantized"] == 14
    assert size["quantized_bytes"] == expected
    assert size["quantized_bf16_bytes"] == 2 * NUM_WEIGHTS
    assert size["quantized_ratio"] == expected / (2 * NUM_WEIGHTS)
    assert size["file_bytes"] == (tmp_path / "model" / "model.safetensors").stat().st_size > expected


def test_a_dense_checkpoint_has_no_quantized_layers_and_every_file_counts(tmp_path):
    model = tiny_llama()
    model.save_pretrained(tmp_path, max_shard_size="30KB")
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1
    size = measure_size(tmp_path)
    assert size["file_bytes"] == sum(file.stat().st_size for file in shards) > 4 * model.num_parameters()
    assert (size["num_quantized"], size["quantized_bytes"], size["quantized_ratio"]) == (0, 0, None)


def test_half_the_type_is_half_the_weights(tmp_path):
    single = measure_size(save_dense(tiny_llama(), tmp_path / "single"))["file_bytes"]
    half = measure_size(save_dense(tiny_llama(), tmp_path / "half", dtype="bfloat16"))["file_bytes"]
    # Headers stay, up to the digits of the offsets in them.
    assert single - half == pytest.approx(2 * tiny_llama().num_parameters(), abs=200)


def test_a_folder_without_weights_or_with_half_of_them_is_refused(tmp_path):
    with pytest.raises(CompressionError, match=r"holds no \.safetensors file"):
        measure_size(tmp_path)
    save_file({"a": torch.zeros(100)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-50])
    with pytest.raises(CompressionError, match="is truncated: a ends after the file"):
        measure_size(tmp_path)
