"""Adapters that give an embedding and its head different weights, against PEFT and against the untied copy of the base."""

import json

import pytest
import torch
import transformers as t
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from hf_compress import Member, Merge, merge
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.lora.extract import extract_lora
from tests.merging.adapters import logits_with, make_adapter

SIZES = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
IDS = torch.arange(8)[None]
PARTING = {
    "both saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "head saved": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding saved": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "factors on the head": {"target_modules": ["lm_head"]},
    "factors on the embedding": {"target_modules": ["embed_tokens"]},
    "factors on both": {"target_modules": ["embed_tokens", "lm_head"]},
}


@pytest.fixture
def bases(tmp_path):
    """The folders of a tied model, and of the same model with both weights stored."""
    torch.manual_seed(0)
    tied = t.LlamaForCausalLM(t.LlamaConfig(**SIZES, tie_word_embeddings=True))
    untied = t.LlamaForCausalLM(t.LlamaConfig(**SIZES))
    untied.load_state_dict(tied.state_dict())
    for name, model in (("tied", tied), ("untied", untied)):
        model.save_pretrained(tmp_path / name)
    return tied, tmp_path / "tied", tmp_path / "untied"


def tensors(folder):
    return load_file(folder / "model.safetensors")


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", PARTING)
def test_a_tied_base_is_untied_by_an_adapter_that_parts_its_weights(case, bases, tmp_path):
    model, tied, untied = bases
    adapter = make_adapter(model, tmp_path / "adapter", **PARTING[case])
    apply_adapters(tied, [adapter], tmp_path / "out")
    apply_adapters(untied, [adapter], tmp_path / "expected")
    assert_same(tensors(tmp_path / "out"), tensors(tmp_path / "expected"))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    with torch.no_grad():
        logits = t.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()(IDS).logits
    torch.testing.assert_close(logits, logits_with(t.LlamaForCausalLM, tied, adapter, IDS), rtol=0, atol=1e-6)


def test_a_member_with_such_an_adapter_unties_the_merge(bases, tmp_path):
    model, tied, _ = bases
    adapter = make_adapter(model, tmp_path / "adapter", **PARTING["both saved"])
    members = [Member(str(tied)), Member(str(tied), adapter=str(adapter), name="adapted")]
    merge(Merge(members=members), tmp_path / "out", threads=1)
    apply_adapters(tied, [adapter], tmp_path / "adapted")
    base, found = tensors(tied), tensors(tmp_path / "out")
    base["lm_head.weight"] = base["model.embed_tokens.weight"]
    assert_same(found, {name: (base[name] + tensor) / 2 for name, tensor in tensors(tmp_path / "adapted").items()})
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False


def test_one_embedding_for_both_stays_tied(bases, tmp_path):
    model, tied, _ = bases
    settings = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    adapter = make_adapter(model, tmp_path / "adapter", **settings)
    apply_adapters(tied, [adapter], tmp_path / "out")
    assert "lm_head.weight" not in tensors(tmp_path / "out")
    saved = load_file(adapter / "adapter_model.safetensors")["base_model.model.model.embed_tokens.weight"]
    assert torch.equal(tensors(tmp_path / "out")["model.embed_tokens.weight"], saved)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing", "ignore:.*tie_word_embeddings")
def test_factors_that_peft_ties_are_in_both_weights(bases, tmp_path):
    _, tied, _ = bases
    settings = LoraConfig(r=4, lora_alpha=6, target_modules=["embed_tokens"], ensure_weight_tying=True)
    adapted = get_peft_model(t.LlamaForCausalLM.from_pretrained(tied), settings)
    optimizer = torch.optim.SGD([one for one in adapted.parameters() if one.requires_grad], lr=0.5)
    for _ in range(3):
        adapted(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.save_pretrained(tmp_path / "adapter")
    apply_adapters(tied, [tmp_path / "adapter"], tmp_path / "out")
    with torch.no_grad():
        expected = adapted.eval()(IDS).logits
        found = t.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()(IDS).logits
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_second_adapter_may_part_what_the_first_has_kept_together(bases, tmp_path):
    model, tied, untied = bases
    both = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    first = make_adapter(model, tmp_path / "first", **both)
    second = make_adapter(model, tmp_path / "second", seed=1, target_modules=["v_proj"], modules_to_save=["lm_head"])
    apply_adapters(tied, [first, second], tmp_path / "out")
    apply_adapters(untied, [first, second], tmp_path / "expected")
    assert_same(tensors(tmp_path / "out"), tensors(tmp_path / "expected"))


@pytest.mark.parametrize("base", ["tied", "untied"])
@pytest.mark.parametrize("case", ["both saved", "head saved", "embedding saved"])
def test_the_adapter_between_a_tied_and_an_untied_model_is_extracted_whole(case, base, bases, tmp_path):
    model, tied, _ = bases
    adapter = make_adapter(model, tmp_path / "adapter", **PARTING[case])
    apply_adapters(tied, [adapter], tmp_path / "tuned")
    result = extract_lora(tmp_path / base, tmp_path / "tuned", tmp_path / "found", rank=8)
    assert not result.lost
    apply_adapters(tmp_path / base, [tmp_path / "found"], tmp_path / "back")
    for name, tensor in tensors(tmp_path / "back").items():
        torch.testing.assert_close(tensor, tensors(tmp_path / "tuned")[name], rtol=0, atol=1e-6)
    with torch.no_grad():
        logits = t.AutoModelForCausalLM.from_pretrained(tmp_path / "tuned").eval()(IDS).logits
    by_peft = logits_with(t.LlamaForCausalLM, tmp_path / base, tmp_path / "found", IDS)
    torch.testing.assert_close(logits, by_peft, rtol=0, atol=1e-5)
