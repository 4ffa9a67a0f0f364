"""Layers asked one by one by recipe, and the allocation that a recipe takes as it stands."""

import json
import math

import pytest

from hf_compress import Recipe
from hf_compress._yaml import write_yaml
from hf_compress.pruning.allocations.per_layer import PerLayer
from hf_compress.pruning.sensitivity import Sensitivity
from hf_compress.recipe.yaml_text import parse_yaml, read_recipe
from tests.command_line import tree
from tests.small import pretrained
from tests.small import recipe as train_recipe

MLP = ["re:.*self_attn", "lm_head"]


def read(folder):
    return json.loads((folder / "sensitivity.json").read_text())


def test_the_allocation_is_taken_as_it_stands_and_is_worth_what_was_said(folder, recipe, call):
    file = recipe(pruning={"criterion": "wanda", "sparsity": 0.5, "ignore": MLP}, calibration={"num_examples": 12})
    code, out, complaints = call("sensitivity", file)
    assert (code, complaints) == (0, []) and "test nll with this allocation" in out
    place = folder / "out"
    assert tree(place) == ["allocation.yaml", "prune.yaml", "sensitivity.json", "sensitivity.md", "sensitivity.png"]
    plain = read(place)
    measured = Sensitivity.from_plain(plain)
    assert [curve.name for curve in measured.curves][:2] == ["model.layers.0.mlp.gate_proj", "model.layers.0.mlp.up_proj"]
    assert [list(curve.points) for curve in measured.curves] == [[0.3, 0.5, 0.7, 0.9]] * 6
    assert str(folder) not in (place / "sensitivity.json").read_text()
    allocation = PerLayer(**{key: value for key, value in plain["found"]["allocation"].items() if key != "name"})
    assert allocation == measured.allocation(0.5)[0]
    # The recipe that it leaves, and its snippet in one of a training.
    code, _, complaints = call("run", place / "prune.yaml", "--set", "export.dtype=float32")
    assert (code, complaints) == (0, [])
    report = json.loads((folder / "out-pruned" / "report.json").read_text())
    assert report["rows"][1]["metrics"]["nll"] == pytest.approx(
        plain["found"]["compared"]["test"]["found"]["nll"], abs=1e-6
    )
    snippet = parse_yaml((place / "allocation.yaml").read_text(), "")
    changes = {"data.path": str(folder / "rows.jsonl"), "training.output_dir": str(folder / "trained")}
    data = train_recipe(folder, pretrained(folder / "model", changes))
    data["pruning"] |= {**snippet, "ignore": MLP}
    assert Recipe.from_plain(data).pruning.allocation == allocation and Recipe.from_plain(data).preflight() == []


def test_an_interrupted_run_goes_on_with_what_it_has_measured_and_ends_alike(folder, recipe, call, monkeypatch):
    settings = {"pruning": {"sparsity": 0.5, "ignore": MLP}, "group": "block", "sparsities": [0.5, 0.8]}
    file = recipe(**settings)
    call("sensitivity", file)
    whole = read(folder / "out")
    (folder / "out").rename(folder / "first")
    from hf_compress.tasks.builtin.causal_lm import CausalLM

    evaluate, calls = CausalLM.evaluate, []

    def some(self, *arguments, **given):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return evaluate(self, *arguments, **given)

    monkeypatch.setattr(CausalLM, "evaluate", some)
    code, _, complaints = call("sensitivity", file)
    assert (code, complaints) == (130, ["interrupted; the same command goes on"]) and not (folder / "out").exists()
    calls[:] = [1] * 10
    code, _, complaints = call("sensitivity", file)
    assert (code, complaints) == (0, [])
    # dense on two splits, two of four measurements, two allocations on two splits
    assert len(calls) - 10 == 2 + 2 + 4
    assert {**read(folder / "out"), "setting": None} == {**whole, "setting": None}
    assert [name for name in tree(folder) if name.startswith(".out")] == []


def test_what_another_recipe_left_is_measured_anew(folder, recipe, caplog):
    part = folder / ".out.part"
    part.mkdir()
    (part / ".measured.json").write_text(json.dumps({"asked": {}, "measured": {"model.layers.0": {"0.5": {"nll": 0.0}}}}))
    settings = {"pruning": {"sparsity": 0.5, "ignore": MLP}, "group": "block", "sparsities": [0.5]}
    with caplog.at_level("INFO"):
        result = Recipe.load(recipe(**settings)).run()
    assert "is left from another run and is replaced" in caplog.text
    assert all(curve.points[0.5]["nll"] > 0 for curve in result.measured.curves)


def test_a_pattern_with_one_sparsity_has_costs_and_no_allocation(folder, recipe, call):
    pattern = {"name": "n_m", "n": 2, "m": 4}
    code, out, complaints = call("run", recipe(pruning={"pattern": pattern, "ignore": MLP}, group="name"))
    assert (code, complaints) == (0, []) and "there is no allocation to look for" in out
    assert tree(folder / "out") == ["sensitivity.json", "sensitivity.md", "sensitivity.png"]
    assert [list(curve["points"]) for curve in read(folder / "out")["curves"]] == [["0.5"]] * 3


def test_the_recipe_of_a_job_that_prunes_is_asked_too(folder, recipe, call, caplog):
    data = {key: value for key, value in read_recipe(recipe()).items() if key != "job"}
    pruning = {"allocation": "erk", "sparsity": 0.5, "ignore": MLP}
    file = folder / "prune.yaml"
    file.write_text(write_yaml({"job": "prune", **data, "pruning": pruning, "solver": "sparsegpt", "calibration": {}}))
    with caplog.at_level("INFO"):
        code, out, complaints = call("sensitivity", file, "--check", "--set", "group=block")
    assert (code, complaints) == (0, []) and "2 groups (by block) x 4 sparsities: 8 measurements of" in out
    assert "not looked at where layers are pruned one at a time: solver, pruning.allocation" in caplog.text
    assert not (folder / "out-sensitivity").exists()


def test_of_a_classifier_the_loss_is_measured_too(folder, recipe):
    from tests.small import write_model
    from tests.tiny import tiny_bert

    names = {"id2label": {0: "cold", 1: "warm"}, "label2id": {"cold": 0, "warm": 1}}
    write_model(folder / "bert", tiny_bert(0, num_labels=2, **names))
    task = {"name": "sequence_classification", "label": "name", "length": 16}
    job = Recipe.load(recipe(model=str(folder / "bert"), task=task, group="name", sparsities=[0.5]))
    result = job.run()
    assert result.measured.loss in ("nll", "loss") and math.isfinite(result.found.predicted)
    assert "accuracy" in result.measured.dense


def test_a_model_that_has_zeros_is_pruned_to_the_same_sparsity_by_both(folder, recipe, call):
    from transformers import AutoModelForCausalLM

    from hf_compress import Constant, Pruning, prune

    read_model = read_recipe(recipe())["model"]
    model = AutoModelForCausalLM.from_pretrained(read_model)
    prune(model, Pruning(schedule=Constant(final=0.8), targets=["re:.*layers.0.mlp.up_proj"]))
    model.save_pretrained(folder / "with-zeros")
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(read_model).save_pretrained(folder / "with-zeros")
    settings = {"pruning": {"sparsity": 0.4, "ignore": MLP}, "sparsities": [0.3, 0.6], "batch_size": 3}
    code, out, complaints = call("sensitivity", recipe(model=str(folder / "with-zeros"), **settings))
    assert (code, complaints) == (0, []) and "All layers pruned, 0.4 overall" in out
    found = read(folder / "out")["found"]
    assert found["reached"] == pytest.approx({"uniform": 0.4, "found": 0.4}, abs=1e-3)
    assert found["allocation"]["sparsities"]["model.layers.0.mlp.up_proj"] == pytest.approx(0.8, abs=1e-3)
    recipe_left = parse_yaml((folder / "out" / "prune.yaml").read_text(), "")
    assert recipe_left["evaluation"] == {"batch_size": 3}
    code, _, complaints = call("run", folder / "out" / "prune.yaml")
    assert (code, complaints) == (0, [])


def test_other_calibration_data_begin_anew(folder, recipe, call, monkeypatch, caplog):
    file = recipe(
        pruning={"criterion": "wanda", "sparsity": 0.5, "ignore": MLP}, calibration={"num_examples": 12}, group="name"
    )
    from hf_compress.jobs.sensitivity import run as job

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "write_result", stopped)
    assert call("sensitivity", file)[0] == 130
    monkeypatch.undo()
    with caplog.at_level("INFO"):
        code, _, complaints = call(
            "sensitivity", file, "--set", "calibration.num_examples=12", "--set", "calibration.seed=5"
        )
    assert (code, complaints) == (0, []) and "is left from another run and is replaced" in caplog.text


def verdict(found, uniform, reached=(0.5, 0.5)):
    from hf_compress.jobs.sensitivity.result import Found, SensitivityResult

    test = {"dense": {"nll": 1.0}, "uniform": {"nll": uniform}, "found": {"nll": found}}
    value = Found(
        allocation=PerLayer(),
        predicted=0.1,
        compared={"test": test},
        reached=dict(zip(("found", "uniform"), reached, strict=True)),
    )
    measured = Sensitivity(loss="nll", dense={"nll": 1.0}, curves=())
    return SensitivityResult(folder=None, measured=measured, sparsity=0.5, found=value).sentences()[0]


def test_the_verdict_compares_what_can_be_compared():
    assert "0.5 overall" in verdict(1.1, 1.2) and verdict(1.1, 1.2).endswith("it is better than uniform.")
    assert verdict(1.2, 1.2).endswith("it is not better than uniform: leave it out.")
    assert verdict(1.2, float("nan")).endswith("it is better than uniform.")
    assert verdict(float("nan"), float("nan")).endswith("it cannot be used.")
    said = verdict(1.1, 1.2, (0.5, 0.58))
    assert "0.5000 overall with this allocation and 0.5800 with uniform, for 0.5" in said and "no comparison" in said
