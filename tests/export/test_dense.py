"""Dense checkpoints hold what the model holds."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_compress import Constant, Pruning, Quantization, prune, quantize, save_dense
from hf_compress._errors import CompressionError
from hf_compress.quantization.qat import prepare
from tests.tiny import tiny_llama, tiny_tokenizer


def test_zeros_and_logits_survive(tmp_path):
    model = tiny_llama()
    prune(model, Pruning(schedule=Constant(final=0.5)))
    assert save_dense(model, tmp_path / "model", tiny_tokenizer()) == tmp_path / "model"
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    weight = reloaded.model.layers[0].mlp.up_proj.weight
    assert (weight == 0).sum().item() == weight.numel() // 2
    ids = torch.arange(3, 11)[None]
    with torch.no_grad():
        assert torch.equal(reloaded(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "model").get_vocab() == tiny_tokenizer().get_vocab()


def test_the_type_is_stored_and_loaded_again(tmp_path):
    save_dense(tiny_llama(), tmp_path / "model", dtype="bfloat16")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for (name, stored), original in zip(reloaded.named_parameters(), tiny_llama().parameters(), strict=True):
        assert torch.equal(stored, original.bfloat16()), name


@pytest.mark.parametrize("how", [prepare, quantize])
def test_a_quantized_model_is_refused_and_nothing_is_written(how, tmp_path):
    model = tiny_llama()
    how(model, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match=r"q_proj is quantized, .* write it with save_compressed"):
        save_dense(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_type_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(CompressionError, match="dtype='int8' is no floating torch type"):
        save_dense(tiny_llama(), tmp_path / "model", dtype="int8")
    assert list(tmp_path.iterdir()) == []
