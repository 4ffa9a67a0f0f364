"""Pruned by recipe: the weights, what lies beside them, and that it is so when it is looked at again."""

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress import NM, Calibration, Constant, Pruning, Reconstruction, SparseGPT, Wanda, prune
from hf_compress.calibration.examples import calibration_batches
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.inputs.sections import Data
from hf_compress.jobs.verify.run import verify
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.opened import open_inputs
from tests.command_line import tree
from tests.small import write_model
from tests.tiny import tiny_bert, tiny_llama


def from_python(folder, pruning, **settings):
    """The same by `prune` alone."""
    opened = open_inputs(str(folder / "model"), Data(path=str(folder / "rows.jsonl")), CausalLM(length=16))
    collator = opened.task.collator(opened.processor)
    batches = list(calibration_batches(opened.examples["train"], collator, Calibration(num_examples=12)))
    model = opened.load_model(0)
    prune(model, pruning, batches, **settings)
    return model, opened


def nll(model, rows):
    """In nats per token, by transformers' own loss; every block predicts as many tokens."""
    with torch.no_grad():
        ids = [torch.tensor([row]) for row in rows["input_ids"]]
        return sum(model(input_ids=one, labels=one).loss.item() for one in ids) / len(ids)


def test_the_result_is_what_prune_makes_and_every_claim_of_its_card_holds(folder, recipe, call):
    file = recipe(pruning={"criterion": "wanda", "sparsity": 0.5}, calibration={"num_examples": 12})
    code, out, complaints = call("run", file)
    assert (code, complaints) == (0, []) and "| pruned" in out and f"model and card  {folder / 'out'}" in out
    expected, opened = from_python(folder, Pruning(criterion=Wanda(), schedule=Constant(final=0.5)))
    found = AutoModelForCausalLM.from_pretrained(folder / "out")
    for name, weight in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name
    report = json.loads((folder / "out" / "report.json").read_text())
    dense, pruned = report["rows"]
    test = opened.examples["test"]
    assert dense["metrics"]["nll"] == pytest.approx(nll(opened.load_model(0), test), abs=1e-5)  # order of sums
    assert pruned["metrics"]["perplexity"] == pytest.approx(math.exp(nll(found, test)), rel=1e-4)
    assert (dense["sparsity"], pruned["sparsity"]) == (None, 0.5)
    shares = {layer["name"]: layer["sparsity"] for layer in report["layers"]}
    assert shares["model.layers.0.mlp.up_proj"] == 0.5 and shares["lm_head"] is None
    assert report["setting"]["pruned by"] == "criterion wanda, pattern unstructured"
    assert "Nothing was trained." in (folder / "out" / "report.md").read_text()
    manifest = Manifest.read(folder / "out")
    assert manifest.kind == "prune" and manifest.recipe["pruning"]["sparsity"] == 0.5
    card = (folder / "out" / "README.md").read_text()
    assert "criterion `wanda`" in card and str(folder) not in card
    assert [name for name in tree(folder) if name.startswith(".out")] == []
    assert verify(str(folder / "out"), data=str(folder / "rows.jsonl")).holds


def test_a_solver_and_reconstruction_by_recipe_are_those_of_python(folder, recipe, call):
    file = recipe(
        pruning={"pattern": {"name": "n_m", "n": 2, "m": 4}},
        solver="sparsegpt",
        reconstruct={"scope": "mlp", "steps": 3},
        calibration={"num_examples": 12},
    )
    code, _, complaints = call("run", file)
    assert (code, complaints) == (0, [])
    pruning = Pruning(pattern=NM(n=2, m=4), schedule=Constant(final=0.5))
    reconstruct = Reconstruction(scope="mlp", steps=3)
    expected, _ = from_python(folder, pruning, solver=SparseGPT(), reconstruct=reconstruct)
    found = AutoModelForCausalLM.from_pretrained(folder / "out").state_dict()
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-5)  # Adam's steps of another process's sums
    card = (folder / "out" / "README.md").read_text()
    assert "- solver `sparsegpt`" in card and "- technique `reconstruction` (scope mlp, steps 3" in card
    assert "- criterion" not in card
    assert "https://arxiv.org/abs/2510.14444" in card


def test_check_says_what_would_be_pruned_and_writes_nothing(folder, recipe, call):
    file = recipe(pruning={"sparsity": 0.5, "ignore": ["re:.*self_attn", "lm_head"]}, calibration={})
    before = tree(folder)
    code, out, complaints = call("check", file)
    assert (code, complaints, tree(folder)) == (0, [], before)
    model = tiny_llama()
    linear = sum(
        one.weight.numel() for name, one in model.named_modules() if isinstance(one, torch.nn.Linear) and "mlp" in name
    )
    weights = sum(one.numel() for one in model.parameters() if one.dim() > 1)
    assert f"prunes 6 of 15 Linear, {100 * linear / weights:.1f} % of the weights; left: " in out
    assert f"sparsity 0.5 of these, {0.5 * linear / weights:.1%} of all weights" in out
    assert "by: criterion magnitude, pattern unstructured" in out and "which nothing looks at" in out


def test_a_threshold_above_a_whole_layer_is_refused_before_anything_is_measured(folder, recipe, call, monkeypatch):
    from hf_compress.jobs.prune import run

    monkeypatch.setattr(run, "Measuring", lambda *_: pytest.fail("measured"))
    before = tree(folder)
    code, _, complaints = call("run", recipe(pruning={"criterion": {"name": "threshold", "value": 5.0}}))
    assert code == 2 and len(complaints) == 1 and "lie below 5, and the layer would be gone" in complaints[0]
    assert {name for name in tree(folder) if name != "recipe.yaml"} == {name for name in before if name != "recipe.yaml"}


def test_zeros_of_a_threshold_are_what_comes_out(folder, recipe, call):
    code, _, complaints = call("run", recipe(pruning={"criterion": {"name": "threshold", "value": 0.01}}))
    assert (code, complaints) == (0, [])
    weight = AutoModelForCausalLM.from_pretrained(folder / "out").model.layers[0].mlp.up_proj.weight
    assert 0 < (weight == 0).float().mean() < 0.9 and weight[weight != 0].abs().min() >= 0.01


@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_a_criterion_of_gradients_finds_the_labels_of_a_classifier(criterion, folder, recipe, call):
    names = {"id2label": {0: "cold", 1: "warm"}, "label2id": {"cold": 0, "warm": 1}}
    write_model(folder / "bert", tiny_bert(0, num_labels=2, **names))
    file = recipe(
        model=str(folder / "bert"),
        task={"name": "sequence_classification", "label": "name", "length": 16},
        pruning={"criterion": criterion, "sparsity": 0.5},
        calibration={"num_examples": 4},
    )
    code, _, complaints = call("run", file)
    assert (code, complaints) == (0, [])
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["metric"] == "accuracy" and report["rows"][1]["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert report["setting"]["calibration"].startswith("4 of ")


def test_in_order_a_criterion_is_measured_behind_pruned_blocks(folder, recipe, call):
    settings = {"pruning": {"criterion": "wanda", "sparsity": 0.5}, "calibration": {"num_examples": 12}}
    weights = []
    for in_order in (False, True):
        place = str(folder / f"out-{in_order}")
        code, _, complaints = call("run", recipe(**settings, in_order=in_order, output_dir=place))
        assert (code, complaints) == (0, [])
        weights.append(AutoModelForCausalLM.from_pretrained(place).state_dict())
    first, second = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"
    assert torch.equal(weights[0][first], weights[1][first]) and not torch.equal(weights[0][second], weights[1][second])
    expected, _ = from_python(folder, Pruning(criterion=Wanda(), schedule=Constant(final=0.5)), in_order=True)
    assert torch.equal(expected.state_dict()[second], weights[1][second])
