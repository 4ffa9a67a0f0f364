"""Every way of saving a quantized model writes the same compressed checkpoint, and takes nothing from the model."""

import copy
import filecmp
import json

import pytest
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationStatus
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, BertForSequenceClassification, LlamaForCausalLM, Trainer

from hf_compress import CompressionError, Quantization, quantize, save_compressed
from hf_compress.quantization.schemes.presets import W4A16
from hf_compress.quantization.serializer import packed_state, quantization_settings
from tests.tiny import tiny_bert, tiny_llama
from tests.training.runs import arguments

SCHEMES = ["W8A8", "FP8_DYNAMIC", W4A16(group_size=16)]


def quantized(scheme="W8A8", model=None):
    model = tiny_llama().eval() if model is None else model
    quantize(model, Quantization(scheme=scheme))
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 19).view(2, 8)).logits


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_packed_state_is_what_compressed_tensors_makes_in_place(scheme):
    model = quantized(scheme)
    packed, reference = packed_state(model), copy.deepcopy(model)
    ModelCompressor.from_pretrained_model(reference).compress_model(reference)
    expected = reference.state_dict()
    assert packed.keys() == expected.keys()
    for name, tensor in expected.items():
        assert packed[name].dtype == tensor.dtype, name
        assert torch.equal(packed[name].view(torch.uint8), tensor.view(torch.uint8)), name


def test_the_settings_are_those_that_compressed_tensors_writes(tmp_path):
    model = quantized(W4A16(group_size=16))
    compressor = ModelCompressor.from_pretrained_model(copy.deepcopy(model))
    compressor.quantization_config.quantization_status = QuantizationStatus.COMPRESSED
    compressor.update_config(str(tmp_path))
    assert quantization_settings(model) == json.loads((tmp_path / "config.json").read_text())["quantization_config"]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_way_of_saving_writes_the_same_files(scheme, tmp_path):
    model = quantized(scheme)
    before, expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}, logits(model)
    save_compressed(model, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    save_compressed(model, tmp_path / "again")
    for other in ("theirs", "again"):
        files = sorted(file.name for file in (tmp_path / "ours").iterdir())
        assert files == sorted(file.name for file in (tmp_path / other).iterdir())
        assert filecmp.cmpfiles(tmp_path / "ours", tmp_path / other, files, shallow=False)[0] == files
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(logits(model), expected)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()), expected)


def test_a_failed_save_can_be_tried_again(tmp_path):
    model = quantized()
    model.generation_config.temperature, model.generation_config.do_sample = 0.6, False
    with pytest.raises(CompressionError, match=r"generation_config cannot be saved: .*temperature.* do_sample = True"):
        save_compressed(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    model.generation_config.do_sample = True
    save_compressed(model, tmp_path / "model")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()), logits(model))


def test_a_model_with_the_same_config_object_stays_dense(tmp_path):
    dense = tiny_llama()
    other = LlamaForCausalLM(dense.config)
    quantized(model=other)
    assert other.config is not dense.config and other.config is other.model.config
    dense.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())


def test_a_part_of_a_quantized_model_is_refused(tmp_path):
    model = quantized(model=tiny_bert())
    with pytest.raises(CompressionError, match="BertModel is a part of a quantized model.*save the whole model"):
        model.bert.save_pretrained(tmp_path / "part")
    model.save_pretrained(tmp_path / "whole")
    assert BertForSequenceClassification.from_pretrained(tmp_path / "whole")


def test_a_copy_saves_like_the_original(tmp_path):
    model = quantized()
    copy.deepcopy(model).save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == packed_state(model).keys()


def test_a_reloaded_model_is_saved_again_as_it_was(tmp_path):
    """After its first forward transformers has unpacked it, and would write dense weights under a packed config."""
    save_compressed(quantized(W4A16(group_size=16)), tmp_path / "first")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first").eval()
    save_compressed(model, tmp_path / "fresh")
    logits(model)
    save_compressed(model, tmp_path / "used")
    first = load_file(tmp_path / "first" / "model.safetensors")
    for name in ("fresh", "used"):
        again = load_file(tmp_path / name / "model.safetensors")
        assert first.keys() == again.keys() and all(torch.equal(tensor, again[key]) for key, tensor in first.items())


def test_transformers_knows_that_it_cannot_be_trained(tmp_path):
    model = quantized()
    with pytest.raises(ValueError, match="cannot perform fine-tuning on purely quantized models"):
        Trainer(model=model, args=arguments(tmp_path))
    with pytest.raises(ValueError, match="not supported for quantized"):
        model.half()


def test_a_model_without_save_pretrained_is_refused_before_anything_happens(tmp_path):
    model = nn.Sequential(nn.Linear(16, 4))
    quantize(model, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match="Sequential is not a transformers model"):
        save_compressed(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == [] and model(torch.ones(2, 16)).shape == (2, 4)
