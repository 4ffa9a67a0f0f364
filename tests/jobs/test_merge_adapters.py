"""Adapters by recipe: merged, and put into their base."""

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from hf_compress import Recipe
from tests.jobs.adapters import logits, run

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it


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


def test_a_refusal_ends_with_exit_code_2(folder, call):
    recipe = {
        "job": "merge-adapters",
        "adapters": [str(folder / "a")],
        "weights": [1.0, 2.0],
        "output_dir": str(folder / "out"),
    }
    assert run(call, folder, recipe)[::2] == (2, ["weights has 2 numbers for 1 adapters; write one for each"])


def test_round_trip():
    data = {"job": "merge-adapters", "adapters": ["a", "b"], "output_dir": "c", "weights": [1.0, 0.5], "rank": 4}
    recipe = Recipe.from_plain(data)
    assert Recipe.from_plain(recipe.to_plain()) == recipe == Recipe.from_plain(recipe.to_plain(full=True))


def test_every_mistake_comes_in_one_go(folder, call):
    recipe = {
        "job": "merge-adapters",
        "adapters": [str(folder / "nowhere"), str(folder / "neither")],
        "output_dir": str(folder / "a"),
        "energy": 2.0,
    }
    code, _, complaints = run(call, folder, recipe)
    assert code == 2 and len(complaints) == 4
    assert [line.partition(" ")[0] for line in complaints] == ["energy=2.0", "adapter:", "adapter:", "output_dir:"]
