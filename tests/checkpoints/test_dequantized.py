"""Quantized members, read as dense ones, against plain transformers."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.dequantized import DequantizedSource, dense_source
from hf_compress.checkpoints.source import open_source
from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.scheme import Scheme
from tests.merging.checkpoints import save
from tests.tiny import tiny_llama

IDS = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))
SCHEMES = {name: 16 if name in ("W4A16", "W8A16", "W4A8") else None for name in Scheme.available()}


def _quantized(folder, name, dtype=torch.float32):
    model = tiny_llama().to(dtype)
    quantize(model, Quantization(scheme=Scheme.create(name, group_size=SCHEMES[name])))
    save_compressed(model, folder)
    return open_source(folder, "member")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", SCHEMES)
def test_it_reads_what_transformers_computes_with(tmp_path, name, dtype):
    stored = _quantized(tmp_path / "quantized", name, dtype)
    source = DequantizedSource(stored)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "quantized", dtype="auto")
    with torch.no_grad():
        logits = model(input_ids=IDS).logits  # the first forward pass unpacks the weights
    weights = {key: value for key, value in model.state_dict().items() if not key.endswith(("_scale", "_shape"))}
    assert set(source.infos) == set(weights)
    assert len(source.quantized) == 14
    for key, weight in weights.items():
        read = source.read(key)
        assert (read.dtype, tuple(read.shape)) == (source.infos[key].dtype, source.infos[key].shape)
        assert torch.equal(read, weight), key
    if name.endswith("A16"):  # nothing but the weights is quantized: a dense model with them computes the same
        dense = tiny_llama(seed=1).to(dtype)
        dense.load_state_dict({key: source.read(key) for key in source.infos})
        with torch.no_grad():
            # transformers keeps the rotary frequencies in fp32; .to(bfloat16) above rounded them.
            dense.model.rotary_emb = tiny_llama().model.rotary_emb
            torch.testing.assert_close(dense(input_ids=IDS).logits, logits, rtol=0, atol=0)


def test_the_config_is_that_of_a_dense_model(tmp_path):
    source = _quantized(tmp_path / "quantized", "W8A8")
    dense = dense_source(source)
    assert "quantization_config" in source.config
    assert dense.config == {key: value for key, value in source.config.items() if key != "quantization_config"}
    assert dense.files() == source.files()


def test_a_dense_source_is_itself(tmp_path):
    source = save(tmp_path / "dense", tiny_llama())
    assert dense_source(source) is source


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes"])
def test_other_methods_are_refused_by_name(tmp_path, method):
    source = save(tmp_path / "other", tiny_llama())
    source.config["quantization_config"] = {"quant_method": method, "bits": 4}
    with pytest.raises(CompressionError, match=f"other is quantized with {method}, and only compressed-tensors"):
        dense_source(source)


def test_formats_and_settings_that_cannot_be_unpacked_are_refused(tmp_path):
    source = _quantized(tmp_path / "quantized", "W4A16")
    settings = source.config["quantization_config"]
    group = settings["config_groups"]["group_0"]
    source.config["quantization_config"] = {**settings, "config_groups": {"group_0": {**group, "format": "marlin-24"}}}
    with pytest.raises(CompressionError, match="stored as marlin-24|quantization_config cannot be read"):
        dense_source(source)
    source.config["quantization_config"] = {
        **settings,
        "config_groups": {"group_0": {**group, "targets": ["re:.*nothing"]}},
    }
    with pytest.raises(CompressionError, match=r"layers.0.mlp.down_proj is quantized, but no group"):
        dense_source(source)
    dense = save(tmp_path / "dense", tiny_llama())
    dense.config["quantization_config"] = settings
    with pytest.raises(CompressionError, match="no tensor is packed or has a scale"):
        dense_source(dense)


LAYER = "model.layers.0.mlp.up_proj"
WITHOUT = {
    "weight_scale": "up_proj.weight_packed has no weight_scale beside it; write or download the checkpoint again",
    "weight_shape": "up_proj.weight_packed has no weight_shape beside it; write or download the checkpoint again",
}


@pytest.mark.parametrize("part", WITHOUT)
def test_a_packed_weight_without_its_companions_is_refused_by_name(part, tmp_path):
    _quantized(tmp_path / "quantized", "W4A16")
    file = tmp_path / "quantized" / "model.safetensors"
    tensors = load_file(file)
    del tensors[f"{LAYER}.{part}"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CompressionError, match=WITHOUT[part]):
        dense_source(open_source(tmp_path / "quantized", "member"))


def _bits_as_list(group):
    group["weights"]["num_bits"] = [4]


def _broken_target(group):
    group["targets"] = ["re:("]


def _other_groups(group):
    group["weights"]["group_size"] = 8


DAMAGED = {
    "a list of bits": (_bits_as_list, r"config\.json: quantization_config cannot be read: "),
    "a target that is no pattern": (_broken_target, r"config\.json: quantization_config cannot be read: "),
    "other groups": (_other_groups, r"scales, which are not groups of 8 as quantization_config says; write or download"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_settings_that_do_not_explain_the_weights_are_one_sentence(case, tmp_path):
    change, said = DAMAGED[case]
    _quantized(tmp_path / "quantized", "W4A16")
    file = tmp_path / "quantized" / "config.json"
    config = json.loads(file.read_text())
    change(config["quantization_config"]["config_groups"]["group_0"])
    file.write_text(json.dumps(config))
    with pytest.raises(CompressionError, match=said) as refusal:
        dense_source(open_source(tmp_path / "quantized", "member"))
    assert "\n" not in str(refusal.value)
