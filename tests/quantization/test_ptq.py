"""Rounding to nearest, without data."""

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_llama


def test_one_layer_by_hand():
    model = nn.Sequential(nn.Linear(4, 1, bias=False))
    model[0].weight.data = torch.tensor([[7.5, -3.4, 1.2, 0.0]])
    assert quantize(model, Quantization(scheme=W4A16(group_size=4))) == ["0"]
    assert model[0].weight_scale.tolist() == [[1.0]]
    with torch.no_grad():
        assert model(torch.eye(4)).flatten().tolist() == [7.0, -3.0, 1.0, 0.0]


def test_it_computes_what_a_prepared_model_computes():
    ids = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))
    quantization = Quantization(scheme=W4A16(group_size=16))
    prepared, quantized = tiny_llama(), tiny_llama()
    prepare(prepared, quantization)
    assert len(quantize(quantized, quantization)) == 14
    with torch.no_grad():
        assert torch.equal(quantized(input_ids=ids).logits, prepared(input_ids=ids).logits)


def test_the_beginning_does_not_matter_without_training():
    assert quantize(tiny_llama(), Quantization(scheme="W8A8", begin="100%"))


def test_a_model_without_matching_modules_is_refused():
    with pytest.raises(CompressionError, match=r"quantization\.targets: 'Conv2d' matches no module"):
        quantize(tiny_llama(), Quantization(scheme="W8A8", targets=["Conv2d"]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value):
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = value
    with pytest.raises(CompressionError, match=r"model\.layers\.1\.mlp\.down_proj\.weight holds NaN or infinity"):
        quantize(model, Quantization(scheme="W8A8"))


def test_a_model_that_was_quantized_here_or_loaded_so_is_refused(tmp_path):
    model = tiny_llama()
    quantize(model, Quantization(scheme="W8A8"))
    save_compressed(model, tmp_path / "model")
    for found in (model, LlamaForCausalLM.from_pretrained(tmp_path / "model")):
        with pytest.raises(CompressionError, match="already quantized.*load the dense checkpoint"):
            quantize(found, Quantization(scheme=W4A16(group_size=16)))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
def test_a_model_with_adapters_is_refused_with_the_way_to_merge_them():
    peft = pytest.importorskip("peft", reason="the peft extra is not installed")
    model = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(CompressionError, match="quantization of a PEFT model.*merge_and_unload"):
        quantize(model, Quantization(scheme="W8A8"))
