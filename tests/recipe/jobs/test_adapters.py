"""Adapters by recipe: merged, taken out of a model, put into one."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

from hf_compress import Recipe
from hf_compress._yaml import write_yaml
from tests.tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it


@pytest.fixture
def folder(tmp_path):
    tiny_llama().save_pretrained(tmp_path / "base")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        get_peft_model(LlamaForCausalLM.from_pretrained(tmp_path / "base"), settings).save_pretrained(tmp_path / name)
    return tmp_path


def run(call, folder, data):
    file = folder / "recipe.yaml"
    file.write_text(write_yaml(data))
    return call("run", file)


def logits(model):
    return model.eval()(torch.arange(8)[None]).logits


def test_two_adapters_become_one_and_go_into_the_base(folder, call):
    adapters = [str(folder / "a"), str(folder / "b")]
    code, out, _ = run(
        call,
        folder,
        {"job": "merge-adapters", "adapters": adapters, "weights": [0.5, 2.0], "output_dir": str(folder / "both")},
    )
    assert code == 0 and "rank 8" in out
    merged = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder / "base"), folder / "both")
    code, out, _ = run(
        call,
        folder,
        {
            "job": "merge",
            "method": "passthrough",
            "members": [{"model": str(folder / "base"), "adapter": str(folder / "both")}],
            "output_dir": str(folder / "tuned"),
        },
    )
    assert code == 0
    tuned = LlamaForCausalLM.from_pretrained(folder / "tuned")
    # The same sum in another order.
    torch.testing.assert_close(logits(tuned), logits(merged), atol=1e-5, rtol=1e-5)
    code, out, _ = run(
        call,
        folder,
        {
            "job": "extract-adapter",
            "base": str(folder / "base"),
            "tuned": str(folder / "tuned"),
            "rank": 8,
            "output_dir": str(folder / "found"),
        },
    )
    assert code == 0 and "NOT carried" not in out
    found = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder / "base"), folder / "found")
    torch.testing.assert_close(logits(found), logits(tuned), atol=1e-4, rtol=1e-4)


def test_refusals_end_with_exit_code_2(folder, call):
    recipe = {
        "job": "merge-adapters",
        "adapters": [str(folder / "a")],
        "weights": [1.0, 2.0],
        "output_dir": str(folder / "out"),
    }
    assert run(call, folder, recipe)[::2] == (2, ["weights has 2 numbers for 1 adapters; write one for each"])
    recipe = {
        "job": "extract-adapter",
        "base": str(folder / "base"),
        "tuned": str(folder / "base"),
        "output_dir": str(folder / "out"),
    }
    assert run(call, folder, recipe)[::2] == (
        2,
        ["neither rank nor energy is given; give one, e.g. rank=16 or energy=0.95"],
    )


def test_round_trip():
    for data in (
        {"job": "merge-adapters", "adapters": ["a", "b"], "output_dir": "c", "weights": [1.0, 0.5], "rank": 4},
        {"job": "extract-adapter", "base": "a", "tuned": "b", "output_dir": "c", "energy": 0.9, "targets": ["Linear"]},
    ):
        recipe = Recipe.from_plain(data)
        assert Recipe.from_plain(recipe.to_plain()) == recipe == Recipe.from_plain(recipe.to_plain(full=True))
