"""A criterion that sees data, by recipe and command line."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hf_compress import Calibration, Recipe
from hf_compress._yaml import write_yaml
from hf_compress.calibration.examples import calibration_batches
from hf_compress.jobs.train import untrained
from hf_compress.jobs.train.plan import Plan
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.prune import prune
from hf_compress.training.trainer import CompressionTrainer
from tests.jobs.train.test_run import Killed, kill
from tests.pruning.needy import Needy
from tests.small import DROP, recipe, text_rows, write_jsonl

CHANGES = {
    "pruning": {"criterion": "needy", "schedule": {"name": "cubic", "final": 0.5, "end": "50%", "every": 1}},
    "calibration": {"num_examples": 6, "batch_size": 4},
    "quantization": DROP,
    "training.save_steps": 2,
}


@pytest.fixture
def needy(monkeypatch):
    """The recipe knows the criterion, and no other test does."""
    monkeypatch.setitem(Criterion._registry, "needy", Needy)


def written(folder, name="recipe.yaml", **changes):
    if not (folder / "train.jsonl").exists():
        write_jsonl(folder / "train.jsonl", text_rows())
    file = folder / name
    wanted = {**CHANGES, **changes}
    file.write_text(write_yaml(recipe(folder, {key: one for key, one in wanted.items() if one is not None})))
    return file


def test_without_calibration_check_and_run_refuse_before_anything_is_written(needy, tmp_path, call):
    file = written(tmp_path, calibration=None)
    for command in ("check", "run"):
        code, _, complaints = call(command, file)
        assert code == 2 and complaints == [
            "pruning.criterion: criterion 'needy' needs input_norm, measured on examples; add the section"
            " `calibration: {}` to collect them, or use criterion 'magnitude', which needs none"
        ]
    assert not (tmp_path / "out").exists()
    wrong = written(tmp_path, calibration={"num_examples": 0, "length": 5})
    assert call("check", wrong)[2][0].startswith("calibration.length: unknown key 'length'")


def test_a_calibration_that_nothing_needs_is_said(tmp_path, caplog):
    file = written(tmp_path, **{"pruning.criterion": "magnitude"})
    assert Recipe.load(file).preflight() == []
    assert "calibration is set, and no criterion needs statistics" in caplog.text


def test_a_run_by_recipe_resumes_to_the_same_bytes_and_its_row_without_training_sees_the_same_examples(
    needy, tmp_path, call, monkeypatch
):
    straight = tmp_path / "straight"
    straight.mkdir()
    pruned = {}
    compress = untrained.compress_untrained

    def noted(model, *args):
        compress(model, *args)
        pruned["untrained"] = {name: one.detach().clone() for name, one in model.named_parameters()}

    with monkeypatch.context() as patch:
        patch.setattr(untrained, "compress_untrained", noted)
        code, _, complaints = call("run", written(straight))
    assert (code, complaints) == (0, [])
    report = json.loads((straight / "out" / "compressed" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["dense", "compressed without training", "ours"]
    manifest = json.loads((straight / "out" / "compressed" / "compression.json").read_text())
    assert manifest["recipe"]["calibration"] == {"num_examples": 6, "batch_size": 4, "seed": 0}

    job = Recipe.load(straight / "recipe.yaml")
    opened = Plan.make(job, saved_tokenizer=straight / "out" / "tokenizer").opened
    dense = AutoModelForCausalLM.from_pretrained(straight / "out" / "dense")
    rows = calibration_batches(
        opened.examples["train"], opened.task.collator(opened.processor), Calibration(num_examples=6, batch_size=4)
    )
    prune(dense, job.pruning, rows)
    for name, parameter in dense.named_parameters():
        assert torch.equal(parameter.bfloat16(), pruned["untrained"][name]), name

    again = tmp_path / "again"
    again.mkdir()
    file = written(again)
    with monkeypatch.context() as patch:
        kill(patch, CompressionTrainer, "training_step", 2 + 3)
        with pytest.raises(Killed):
            Recipe.load(file).run()
    assert call("run", file, "--resume")[0] == 0
    ends = [load_file(folder / "out" / "compressed" / "model.safetensors") for folder in (straight, again)]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(one, ends[1][name]) for name, one in ends[0].items())


def test_outliers_without_calibration_are_refused_at_the_allocation(tmp_path, call):
    file = written(tmp_path, **{"pruning.criterion": "magnitude", "pruning.allocation": "owl", "calibration": None})
    code, _, complaints = call("check", file)
    assert code == 2 and complaints == [
        "pruning.allocation: allocation 'owl' needs input_norm, measured on examples; add the section `calibration: {}` to"
        " collect them, or use allocation 'uniform', which needs none"
    ]


def test_a_run_whose_criterion_accumulates_resumes_to_the_same_bytes_and_has_no_row_without_training(
    tmp_path, call, monkeypatch
):
    ends = []
    changes = {"pruning.criterion": "movement", "calibration": None}
    for name in ("straight", "again"):
        folder = tmp_path / name
        folder.mkdir()
        file = written(folder, **changes)
        if name == "again":
            with monkeypatch.context() as patch:
                kill(patch, CompressionTrainer, "training_step", 2 + 3)
                with pytest.raises(Killed):
                    Recipe.load(file).run()
        assert call("run", file, *(["--resume"] if name == "again" else []))[0] == 0
        ends.append(load_file(folder / "out" / "compressed" / "model.safetensors"))
        report = json.loads((folder / "out" / "compressed" / "report.json").read_text())
        assert [row["name"] for row in report["rows"]] == ["dense", "ours"]
    assert ends[0].keys() == ends[1].keys() and all(torch.equal(one, ends[1][name]) for name, one in ends[0].items())
