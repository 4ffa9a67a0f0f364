"""An adapter by recipe, taken out of a model."""

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from hf_compress import Recipe
from tests.jobs.adapters import logits, run
from tests.tiny import tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it


def test_what_an_adapter_changed_becomes_an_adapter_again(folder, call):
    base = folder / "base"
    tuned = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), folder / "a").merge_and_unload()
    tuned.save_pretrained(folder / "tuned")
    job = {"job": "extract-adapter", "base": str(base), "tuned": str(folder / "tuned"), "rank": 4}
    code, out, _ = run(call, folder, {**job, "output_dir": str(folder / "found")})
    assert code == 0 and "NOT carried" not in out
    found = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base), folder / "found")
    torch.testing.assert_close(logits(found), logits(tuned), atol=1e-4, rtol=1e-4)


def test_a_refusal_ends_with_exit_code_2(folder, call):
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
    data = {"job": "extract-adapter", "base": "a", "tuned": "b", "output_dir": "c", "energy": 0.9, "targets": ["Linear"]}
    recipe = Recipe.from_plain(data)
    assert Recipe.from_plain(recipe.to_plain()) == recipe == Recipe.from_plain(recipe.to_plain(full=True))


def test_every_mistake_comes_in_one_go(folder, call):
    recipe = {
        "job": "extract-adapter",
        "base": str(folder / "nowhere"),
        "tuned": str(folder / "neither"),
        "output_dir": str(folder / "a"),
        "rank": 0,
    }
    code, _, complaints = run(call, folder, recipe)
    assert code == 2 and [line.partition(":")[0] for line in complaints] == [
        "rank=0 is not a rank; it must be at least 1",
        "base",
        "tuned",
        "output_dir",
    ]


def test_models_that_do_not_fit_are_found_by_checking(folder, call):
    tiny_llama(intermediate_size=48).save_pretrained(folder / "wide")
    recipe = {"job": "extract-adapter", "base": str(folder / "base"), "output_dir": str(folder / "out"), "rank": 4}
    for changes, sentence in (
        ({"tuned": str(folder / "wide")}, "gate_proj.weight is [64, 32] in"),
        ({"tuned": str(folder / "base"), "rank": 65}, "rank=65 is more than any targeted layer has"),
    ):
        (problem,) = Recipe.from_plain({**recipe, **changes}).preflight()
        assert sentence in problem.message
