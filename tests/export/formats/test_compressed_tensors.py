"""Packed checkpoints hold what the quantized model computes."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM

from hf_compress import Quantization, quantize, save_compressed
from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress.quantization.schemes.presets import W4A16, W8A16
from tests.tiny import tiny_llama, tiny_tokenizer


def quantized(scheme="W8A8", dtype="float32"):
    model = cast_weights(tiny_llama().eval(), dtype)
    quantize(model, Quantization(scheme=scheme))
    return model


def test_int4_values_stand_eight_to_a_word_lowest_first(tmp_path):
    model = quantized(W4A16(group_size=16))
    layer = model.model.layers[0].self_attn.q_proj
    # By hand: weight / scale, rounded half to even, kept in [-8, 7].
    scale = layer.weight_scale.data.repeat_interleave(16, dim=1)
    values = (layer.weight.data / scale).round().clamp(-8, 7).long()
    save_compressed(model, tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    assert f"{name}.weight" not in stored
    packed = stored[f"{name}.weight_packed"].long() & 0xFFFFFFFF
    assert packed.shape == (32, 32 // 8)
    unpacked = torch.stack([(packed >> (4 * position)) & 15 for position in range(8)], dim=-1).reshape(32, 32) - 8
    assert torch.equal(unpacked, values)
    assert stored[f"{name}.weight_shape"].tolist() == [32, 32]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scheme", ["W8A8", W8A16(group_size=16), W4A16(group_size=16)], ids=str)
def test_plain_transformers_computes_the_same_logits(scheme, dtype, tmp_path):
    ids = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))
    model = quantized(scheme, dtype)
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        save_compressed(model, tmp_path / "model", tiny_tokenizer())
        reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
        assert torch.equal(reloaded(input_ids=ids).logits, expected)
    config = json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "compressed-tensors" and "lm_head" in config["ignore"]
    assert (tmp_path / "model" / "tokenizer.json").is_file()


def test_a_model_that_was_pickled_is_refused_with_what_that_does_and_written_by_its_own_save(tmp_path):
    model = quantized()
    torch.save(model, tmp_path / "model.pt")
    read = torch.load(tmp_path / "model.pt", weights_only=False)
    message = (
        r"^LlamaForCausalLM was pickled \(torch.save and torch.load, or sent to another process\), which drops the rounding"
        r" forward of its quantized modules \(model.layers.0.self_attn.q_proj and 13 more\), so it computes as if it were"
        r" dense; .* write it with its own save_pretrained, and load that$"
    )
    with pytest.raises(CompressionError, match=message):
        save_compressed(read, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    read.save_pretrained(tmp_path / "own")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "own")
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(input_ids=ids).logits, model(input_ids=ids).logits)
    save_compressed(copy.deepcopy(model), tmp_path / "copied")


def test_a_dense_model_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(CompressionError, match="no module is quantized; call quantize"):
        save_compressed(tiny_llama(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_several_processes_are_refused(tmp_path, monkeypatch):
    model = quantized()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(CompressionError, match="splits modules over ranks; end the group first"):
        save_compressed(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_refused_before_the_model_is_packed(tmp_path):
    model = quantized()
    with pytest.raises(CompressionError, match="exists already"):
        save_compressed(model, tmp_path)
    assert isinstance(model.model.layers[0].self_attn.q_proj.weight, nn.Parameter)


def test_weights_that_became_no_numbers_are_refused_by_name(tmp_path):
    model = quantized()
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[0, 0] = float("inf")
    with pytest.raises(CompressionError, match=r"layers\.0\.self_attn\.q_proj\.weight holds NaN or infinity"):
        save_compressed(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_scheme_that_transformers_cannot_load_leaves_no_folder(tmp_path, monkeypatch):
    model = quantized()
    monkeypatch.setattr(type(model), "from_pretrained", lambda *args, **kwargs: model.no_such_thing)
    with pytest.raises(CompressionError, match=r"does not load as LlamaForCausalLM \(AttributeError.*take another scheme"):
        save_compressed(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    save_compressed(model, tmp_path / "model", tiny_tokenizer(), example={"input_ids": torch.arange(3, 9)[None]})
