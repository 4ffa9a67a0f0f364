"""An ensemble from a recipe: fitted on validation, measured on test, written, loaded back and verified."""

import json
import logging
import math

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hf_compress import CompressionError, Recipe
from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.compare import read_report
from hf_compress.jobs.ensemble import answers as answering
from hf_compress.jobs.verify.run import verify
from tests.command_line import call, tree  # noqa: F401 (a fixture)
from tests.jobs.ensemble.conftest import LABELS


@pytest.fixture(scope="module")
def done(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    plain = {
        "job": "ensemble",
        "members": [{"model": str(made / "model-0"), "name": "first"}, {"model": str(made / "model-1")}],
        "task": {"name": "sequence_classification", "length": 16},
        "data": {"path": str(made / "data")},
        "fit": {"temperatures": True, "weights": True},
        "output_dir": str(out),
    }
    return Recipe.from_plain(plain).run()


def answers(folder, split, made):
    """The log-probabilities of a folder's model, in the order of LABELS, and the labels; by transformers, row by row."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in (made / "data" / f"{split}.jsonl").read_text().splitlines()]
    order = [model.config.label2id[label] for label in LABELS]
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(row["text"], return_tensors="pt")).logits for row in rows])
    return logits[:, order].double().log_softmax(-1), torch.tensor([LABELS.index(row["label"]) for row in rows])


def test_an_interrupted_run_says_that_it_begins_again(recipe, tmp_path, call, monkeypatch):  # noqa: F811
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_compress.jobs.ensemble.recipe.build", interrupted)
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe()))
    assert call("run", tmp_path / "recipe.yaml")[::2] == (130, ["interrupted; the same command begins again"])


def test_every_row_of_the_report_is_what_stock_transformers_measures(done, made):
    report = read_report(done.folder)
    folders = [made / "model-0", made / "model-1", done.folder]
    assert [row.name for row in report.rows] == ["first", "model-1", "ensemble"]
    for row, folder in zip(report.rows, folders, strict=True):
        logs, labels = answers(folder, "test", made)
        assert row.metrics["accuracy"] == pytest.approx((logs.argmax(-1) == labels).double().mean().item())
        assert row.metrics["nll"] == pytest.approx(-logs.gather(1, labels[:, None]).mean().item(), abs=1e-5)
        assert row.intervals["accuracy"][0] <= row.metrics["accuracy"] <= row.intervals["accuracy"][1]
        logs, labels = answers(folder, "validation", made)
        assert report.validation[row.name] == pytest.approx((logs.argmax(-1) == labels).double().mean().item())
    wrong = [answers(folder, "test", made) for folder in folders[:2]]
    apart = (wrong[0][0].argmax(-1) != wrong[1][0].argmax(-1)).double().mean().item()
    assert report.disagreement[0][1] == pytest.approx(apart)
    assert report.parameters["ensemble"] == report.parameters["first"] + report.parameters["model-1"]
    assert report.rows[-1].file_bytes == report.rows[0].file_bytes + report.rows[1].file_bytes


def test_the_ensemble_is_the_weighted_mixture_of_its_calibrated_members(done, made):
    report = read_report(done.folder)
    names = ["first", "model-1"]
    mixture = 0
    for number, name in enumerate(names):
        logs, _ = answers(made / f"model-{number}", "test", made)
        mixture = mixture + report.weights[name] * (logs / report.temperatures[name]).softmax(-1)
    found, _ = answers(done.folder, "test", made)
    torch.testing.assert_close(found.exp(), mixture, rtol=0, atol=1e-5)
    assert sum(report.weights.values()) == pytest.approx(1) and report.fitted == ("temperatures", "weights")


def test_an_ensemble_that_beats_no_member_says_so_everywhere(done):
    report = read_report(done.folder)
    assert report.validation["ensemble"] <= report.validation["first"]
    said = "the ensemble does not beat it, so ask that member alone"
    plain = json.loads((done.folder / "report.json").read_text())
    assert plain["verdict"]["kind"] == "regression" and said in plain["verdict"]["reason"]
    for name in ("report.md", "report.html", "README.md"):
        assert said in (done.folder / name).read_text(), name
    assert said in done.summary()


def test_manifest_and_card_say_what_it_is_made_of_and_no_path(done, made):
    manifest = Manifest.read(done.folder)
    assert manifest.kind == "ensemble" and manifest.recipe["job"] == "ensemble"
    first = manifest.facts["members"][0]
    assert first["name"] == "first" and "model" not in first and len(first["files"]["model.safetensors"]) == 64
    assert {"member-0/model.safetensors", "member-1/model.safetensors"} == set(manifest.facts["weights"])
    for file in ("README.md", "compression.json", "report.json", "report.md", "report.html", "config.json"):
        assert str(made.parent) not in (done.folder / file).read_text(), file
    card = ModelCard.load(done.folder / "README.md")
    assert card.data.pipeline_tag == "text-classification" and card.data.base_model is None
    assert "ensemble" in card.data.tags and "trust_remote_code=True" in card.text


def test_verify_measures_it_again_and_notices_other_numbers(done, made, tmp_path):
    found = verify(str(done.folder), data=str(made / "data"))
    assert found.holds and {check.what for check in found.checks if check.holds} >= {
        "accuracy",
        "nll",
        "ece",
        "brier",
        "files",
    }
    other = json.loads((done.folder / "compression.json").read_text())
    other["report"]["rows"][-1]["metrics"]["accuracy"] += 0.2
    text = (done.folder / "compression.json").read_text()
    try:
        (done.folder / "compression.json").write_text(json.dumps(other, indent=2) + "\n")
        assert not verify(str(done.folder), data=str(made / "data")).holds
    finally:
        (done.folder / "compression.json").write_text(text)


def test_without_data_nothing_is_measured_and_report_and_card_say_so(recipe):
    done = Recipe.from_plain(recipe(data=None)).run()
    assert done.report is None and not (done.folder / "report.json").exists()
    assert "Neither fitted nor measured" in done.summary()
    assert "neither fitted nor measured" in (done.folder / "README.md").read_text()
    assert verify(str(done.folder)).holds


@pytest.fixture
def broken(made, tmp_path):
    """Members of which the second answers NaN."""
    model = AutoModelForSequenceClassification.from_pretrained(made / "model-1")
    model.classifier.bias.data[0] = float("nan")
    model.save_pretrained(tmp_path / "broken")
    AutoTokenizer.from_pretrained(made / "model-1").save_pretrained(tmp_path / "broken")
    return [{"model": str(made / "model-0")}, {"model": str(tmp_path / "broken")}]


def test_a_member_that_answers_nan_is_named_and_nothing_is_written(recipe, broken, tmp_path):
    job = Recipe.from_plain(recipe(members=broken))
    with pytest.raises(CompressionError, match="members.1.model: 'broken' answers NaN to 40 of 40 rows of the validation"):
        job.run()
    assert not (tmp_path / "out").exists()


def test_a_member_that_answers_nan_and_is_left_out_is_no_part_of_the_answer_and_the_result_not_to_be_believed(
    recipe, broken
):
    done = Recipe.from_plain(recipe(members=broken, on_nan="leave_out")).run()
    first, second, together = done.report.rows
    assert together.metrics["accuracy"] == first.metrics["accuracy"] and math.isnan(second.metrics["accuracy"])
    assert "anomalous: accuracy of 'broken' on validation is nan" in done.summary()


def test_what_an_interrupted_run_left_is_removed_and_that_is_said(recipe, tmp_path, caplog):
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "config.json").write_text("{}")
    with caplog.at_level(logging.INFO, logger="hf_compress"):
        done = Recipe.from_plain(recipe(data=None)).run()
    assert "an earlier run was interrupted" in caplog.text
    assert not (tmp_path / ".out.part").exists() and (done.folder / "compression.json").exists()


def test_checking_writes_nothing(recipe, tmp_path):
    before = tree(tmp_path)
    assert Recipe.from_plain(recipe()).preflight() == [] and tree(tmp_path) == before


def test_the_ensemble_is_asked_one_by_one_where_its_answers_are_compared(recipe, monkeypatch):
    """By the clock it would be asked as one model, which rounds otherwise."""
    asked, original = [], answering.ask

    def watched(model, *arguments, **options):
        asked.append(getattr(model.config, "execution", None))
        return original(model, *arguments, **options)

    monkeypatch.setattr(answering, "ask", watched)
    done = Recipe.from_plain({**recipe(), "latency": None}).run()
    assert asked == [None] * 4 + ["sequential"] * 2
    assert AutoConfig.from_pretrained(done.folder).execution == "auto"
