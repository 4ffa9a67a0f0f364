"""A small model with memory in place of a large one."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, CTRLConfig, CTRLLMHeadModel

from hf_compress._forward.small_twin import small_twin


def test_a_small_model_is_built_whole():
    model = BertForMaskedLM(BertConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_attention_heads=4))
    twin, whole = small_twin(model, torch.bfloat16)
    assert whole and twin.config.num_hidden_layers == 12 and twin.device.type == "cpu" and not twin.training
    assert {parameter.dtype for parameter in twin.parameters()} == {torch.bfloat16}


def test_a_large_one_has_one_layer_and_few_tokens():
    with torch.device("meta"):
        model = CTRLLMHeadModel(CTRLConfig())
    twin, whole = small_twin(model, torch.float32)
    assert not whole
    assert (twin.config.n_layer, twin.config.vocab_size, twin.config.n_embd) == (1, 1024, 1280)
    assert (model.config.n_layer, model.config.vocab_size) == (48, 246534)


def test_a_deep_one_has_one_layer_however_small_it_is():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 64}
    for layers, depth in ((64, 64), (65, 1)):
        with torch.device("meta"):
            model = BertForMaskedLM(BertConfig(num_hidden_layers=layers, **sizes))
        twin, whole = small_twin(model, torch.float32)
        assert (twin.config.num_hidden_layers, whole) == (depth, depth == layers)
        assert model.config.num_hidden_layers == layers


def test_there_is_none_of_a_layer_that_is_too_large(monkeypatch):
    monkeypatch.setattr("hf_compress._forward.small_twin._WEIGHTS", 1000)
    model = BertForMaskedLM(BertConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_attention_heads=4))
    assert small_twin(model, torch.float32) == (None, False)


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), object()])
def test_what_has_no_config_has_none(model):
    assert small_twin(model, torch.float32) == (None, False)
