"""The card of an adapter, from a manifest that is not that of a file."""

from huggingface_hub import ModelCard

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.render import render_card

FACTS = {
    "base_model": "owner/base",
    "task_type": "CAUSAL_LM",
    "adapter": {
        "ranks": [2, 8],
        "layers": 14,
        "parameters": 12345,
        "error": 0.0312,
        "saved_whole": ["lm_head"],
        "lost": {"model.norm.weight": "no adapter of PEFT carries it"},
        "lost_norm": 0.5,
        "load_back": "PEFT loads it",
    },
    "inputs": {"base": {"model.safetensors": "0123456789abcdef0123"}},
}


def card(kind="extract-adapter", **changes):
    return render_card(Manifest(kind=kind, name="lora", recipe={"job": kind}, facts={**FACTS, **changes}))


def test_the_hub_is_told_what_it_is_an_adapter_of():
    data = ModelCard(card()).data.to_dict()
    assert (data["base_model"], data["base_model_relation"]) == ("owner/base", "adapter")
    assert (data["library_name"], data["pipeline_tag"], data["tags"]) == (
        "peft",
        "text-generation",
        ["hf_compress", "lora"],
    )
    assert "base_model" not in ModelCard(card(base_model="./base")).data.to_dict()


def test_the_text_says_what_it_holds_and_what_not():
    text = card()
    assert "A LoRA adapter (ranks 2 to 8) for `owner/base`: the difference between two models" in text
    assert 'base = AutoModelForCausalLM.from_pretrained("owner/base")\nmodel = PeftModel.from_pretrained(base, ' in text
    assert "- parameters: 12,345\n- relative error of the change: 0.0312\n- saved whole: lm_head\n" in text
    assert "- not carried: model.norm.weight: no adapter of PEFT carries it\n" in text
    assert "- base: `model.safetensors` 0123456789abcdef\n" in text


def test_adapters_that_were_added_up_are_named_with_their_weights():
    text = card("merge-adapters", inputs=[{"adapter": "one", "weight": 0.5, "sha256": "fedcba98765432100000"}])
    assert "several adapters of one base, added up" in text and "- one: fedcba9876543210, times 0.5\n" in text
