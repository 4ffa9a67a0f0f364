"""The card of a merge, from a manifest that is not that of a file."""

from huggingface_hub import ModelCard

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.render import render_card

FACTS = {
    "merge": {"base": None, "members": [{"model": "owner/one"}, {"model": "./two"}], "seed": 7},
    "architecture": "GPT2LMHeadModel",
    "processor": True,
    "method": {"name": "ties", "reference": "Yadav (2023)"},
    "inputs": {"owner/one": {"model.safetensors": "0123456789abcdef0123"}, "two": {}},
    "tensors": {"merged": 5, "copied (frozen)": 1},
    "size": "12 MB",
    "load_back": "loads as GPT2LMHeadModel",
    "reports": {},
}


def card(**changes):
    return render_card(Manifest(kind="merge", name="soup", recipe={"job": "merge"}, facts={**FACTS, **changes}))


def test_folders_are_not_named_to_the_hub():
    data = ModelCard(card()).data.to_dict()
    assert data["base_model"] == ["owner/one"] and data["base_model_relation"] == "merge"
    assert data["tags"] == ["hf_compress", "merge", "ties"] and "pipeline_tag" not in data
    alone = ModelCard(card(merge={**FACTS["merge"], "members": [{"model": "/data/one"}]})).data.to_dict()
    assert "base_model" not in alone and "base_model_relation" not in alone


def test_the_text_accounts_for_inputs_and_tensors():
    text = card()
    assert "\n\nA merge of 2 models by `ties` (Yadav (2023)), 12 MB of weights.\n\n**Verdict: none**: " in text
    assert "- merged: 5\n- copied (frozen): 1\n" in text
    assert "| owner/one | `model.safetensors` 0123456789abcdef |" in text
    assert "and seed (7) give the same bytes.\n\n## Recipe\n" in text
    assert "from transformers import AutoProcessor, GPT2LMHeadModel\n" in text


def test_an_architecture_that_nobody_knows_has_no_code():
    assert "before you use it.\n\n## Tensors" in card(architecture=None)
    assert "AutoProcessor" not in card(processor=False)


def test_weights_that_were_quantized_again_say_what_they_need():
    asked = {"loading": "call model(...) once", "error": None, "scheme": "W8A8"}
    assert "beside transformers" not in card()
    text = card(reports={"requantized": asked})
    assert "`compressed-tensors` beside transformers.\nMind: call model(...) once.\n\n## Tensors" in text
