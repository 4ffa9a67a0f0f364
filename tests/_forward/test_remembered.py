"""What is asked of an architecture is asked once."""

import torch
from torch import nn
from transformers import BertModel

from hf_compress._forward.remembered import question
from hf_compress._modules import types
from hf_compress._modules.types import cast_weights
from tests.tiny import tiny_bert, tiny_llama


def test_a_question_is_of_a_class_its_config_and_what_is_named_and_not_of_where_weights_lie(tmp_path):
    model = tiny_llama(seed=0)
    model.save_pretrained(tmp_path)
    same = type(model).from_pretrained(tmp_path)
    assert same.config._name_or_path and question(same, "x", given=[1]) == question(model, "x")
    assert question(model, "x").model() is model and question(model, "x", given=[1]).given == [1]
    eager = type(model).from_pretrained(tmp_path, attn_implementation="eager")
    bert = tiny_bert()
    assert isinstance(bert.bert, BertModel) and bert.bert.config is bert.config
    others = [tiny_llama(hidden_size=64), eager, bert, bert.bert]
    assert len({question(model, "x"), question(model, "y"), *(question(one, "x") for one in others)}) == 6
    assert question(nn.Linear(2, 2)) is None


def test_a_config_that_is_no_text_is_like_no_other():
    model = tiny_llama()
    model.config.strange = {1: object()}
    assert question(model) != question(model)


def test_whether_an_architecture_runs_in_a_type_is_tried_once(monkeypatch):
    tried, original = [], types.small_twin
    monkeypatch.setattr(types, "small_twin", lambda model, dtype: tried.append(dtype) or original(model, dtype))
    for _ in range(2):
        assert cast_weights(tiny_llama(intermediate_size=72), "bfloat16").dtype == torch.bfloat16
    assert tried == [torch.float32, torch.bfloat16]
    cast_weights(tiny_llama(intermediate_size=72), "float16")
    assert tried == [torch.float32, torch.bfloat16, torch.float32, torch.float16]
