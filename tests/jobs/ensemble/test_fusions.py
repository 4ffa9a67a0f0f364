"""Cascades, stacking and gating from a recipe, fitted on validation and measured on test."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_compress import Cascade, ParallelEnsemble, Recipe, choose_thresholds
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.ensembling.confidence import Confidence
from hf_compress.evaluation.compare import read_report
from hf_compress.evaluation.pictures import pictures
from hf_compress.jobs.verify.run import verify
from tests.jobs.ensemble.test_run import answers


def by_cost(made):
    """The better one is the dear one."""
    facts = {"small": ("model-1", 1.0), "large": ("model-0", 5.0)}
    return [{"model": str(made / folder), "cost": cost, "name": name} for name, (folder, cost) in facts.items()]


FAST = {"rows": 2, "rounds": 1, "warmup": 0}


def ran(made, out, **changes):
    plain = {
        "job": "ensemble",
        "members": by_cost(made),
        "task": {"name": "sequence_classification", "length": 16},
        "data": {"path": str(made / "data")},
        "latency": FAST,
        "output_dir": str(out),
        **changes,
    }
    return Recipe.from_plain(plain).run()


@pytest.fixture(scope="module")
def cascade(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("cascade") / "out"
    return ran(
        made, out, fusion={"name": "cascade", "confidence": "margin", "most_cost": 0.9}, student=str(made / "model-0")
    )


def test_thresholds_are_those_that_validation_rows_choose(cascade, made):
    report = read_report(cascade.folder)
    both = [answers(made / f"model-{k}", "validation", made) for k in (1, 0)]
    logs, labels = torch.stack([one[0] for one in both]), both[0][1]
    scores = Confidence.create("margin").score(logs)
    expected = choose_thresholds(scores, logs.argmax(-1) == labels, [1.0, 5.0], most_cost=0.9 * 5.0)
    assert report.stages[0]["threshold"] == pytest.approx(expected.thresholds[0], abs=1e-5)
    assert report.validation["ensemble"] == pytest.approx(expected.quality)
    assert report.validation_costs["ensemble"] == pytest.approx(expected.cost)
    model = Cascade.from_pretrained(cascade.folder)
    assert model.config.costs == [1.0, 5.0] and model.config.confidence == "margin"


def test_its_account_is_what_the_loaded_model_does_with_each_row(cascade, made):
    report, model = read_report(cascade.folder), Cascade.from_pretrained(cascade.folder)
    tokenizer = AutoTokenizer.from_pretrained(cascade.folder)
    rows = [json.loads(line)["text"] for line in (made / "data" / "test.jsonl").read_text().splitlines()]
    with torch.no_grad():
        stages = torch.cat([model(**tokenizer(text, return_tensors="pt"), output_stages=True).stages for text in rows])
    assert report.costs["ensemble"] == pytest.approx(model.account(stages))
    assert [one["test"] for one in report.stages] == pytest.approx((stages.bincount(minlength=2) / len(rows)).tolist())
    assert 0 < report.stages[0]["test"] < 1
    logs, labels = answers(cascade.folder, "test", made)
    assert report.rows[-1].metrics["accuracy"] == pytest.approx((logs.argmax(-1) == labels).double().mean().item())


def test_report_page_picture_and_card_say_thresholds_shares_and_cost(cascade):
    report = read_report(cascade.folder)
    threshold = f"{report.stages[0]['threshold']:.6g}"
    for name in ("report.md", "report.html", "README.md"):
        text = (cascade.folder / name).read_text()
        assert threshold in text and "A row pays every stage that it visits" in text, name
    picture = pictures(report)["Quality against cost"]
    assert "other thresholds" in picture and "thresholds taken" in picture and "cost of a row (by the recipe)" in picture
    costs = [cost for cost, _ in report.curve]
    assert costs == sorted(costs) and costs[0] == 1.0 and costs[-1] == 6.0
    assert [report.costs["ensemble"], report.rows[-1].metrics["accuracy"]] in [
        pytest.approx(point) for point in report.curve
    ]
    card = (cascade.folder / "README.md").read_text()
    assert (
        "from cheap to dear, until one is sure" in card and "- fusion `cascade` (most_cost 0.9, confidence margin)" in card
    )
    assert str(cascade.folder.parent) not in card and Manifest.read(cascade.folder).facts["fusion"]["found"]["thresholds"]
    assert verify(str(cascade.folder)).holds is not False


def test_a_student_is_a_row_that_is_no_member(cascade):
    report = read_report(cascade.folder)
    assert [row.name for row in report.rows] == ["small", "large", "model-0", "ensemble"]
    assert report.student == "model-0" and report.members == ["small", "large"]
    assert report.rows[2].metrics == report.rows[1].metrics and len(report.disagreement) == 2
    assert set(report.latency) == {"small", "large", "model-0", "ensemble"} and set(report.latency["small"]) == {"1", "16"}
    assert report.macs["ensemble"] == pytest.approx(report.macs["small"] + report.stages[1]["test"] * report.macs["large"])


@pytest.mark.parametrize("name", ["stacking", "gating"])
def test_what_is_learned_above_members_beats_the_best_or_the_report_says_so(made, tmp_path, name):
    members = [{"model": str(made / f"model-{number}")} for number in range(2)]
    done = ran(made, tmp_path / "out", members=members, fusion={"name": name}, fit={"temperatures": True}, latency=None)
    report = read_report(done.folder)
    best = max(report.validation[member] for member in report.members)
    plain = json.loads((done.folder / "report.json").read_text())["verdict"]
    assert (plain["kind"] == "accept") == (report.validation["ensemble"] > best)
    assert ("does not beat it" in done.summary()) == (plain["kind"] == "regression")
    assert (
        report.weights == {}
        and report.latency == {}
        and report.macs["ensemble"] == sum(report.macs[member] for member in report.members)
    )
    assert report.fitted == ("temperatures", {"stacking": "stacking classifier", "gating": "gate"}[name])
    logs, labels = answers(done.folder, "test", made)
    assert report.rows[-1].metrics["nll"] == pytest.approx(-logs.gather(1, labels[:, None]).mean().item(), abs=1e-5)
    assert f"- fusion `{name}`" in (done.folder / "README.md").read_text()
    on_test = {row.name: row.metrics["accuracy"] for row in report.rows}
    beaten = on_test["ensemble"] > max(on_test[member] for member in report.members)
    assert ("On the test rows the ensemble does not beat 'model-" in done.summary()) == (not beaten)
    assert ("combiner" in report.setting) == (name == "gating") and report.by_folds == (name == "stacking")
    if name == "stacking":  # judged by rows that did not teach it
        found = Manifest.read(done.folder).facts["fusion"]["found"]
        assert report.validation["ensemble"] == found["accuracy_held_out"]
        assert "its own number is of folds that did not teach it" in plain["reason"]


def test_a_learned_deferral_score_travels_in_the_config_and_macs_are_counted(made, tmp_path):
    fusion = {"name": "cascade", "confidence": "learned_deferral", "least_of_last": 0.9}
    members = [{"model": str(made / "model-1")}, {"model": str(made / "model-0")}]
    done = ran(made, tmp_path / "out", members=members, fusion=fusion)
    report, model = read_report(done.folder), AutoModelForSequenceClassification.from_pretrained(done.folder)
    assert report.fitted == ("deferral scores", "thresholds") and report.cost_unit == "MACs"
    assert model.config.confidence[0]["name"] == "learned_deferral" and len(model.config.confidence[0]["weights"]) == 5
    assert report.validation["ensemble"] >= 0.9 * report.validation["model-0"] - 1e-6
    assert report.macs == report.costs and model.config.costs == [report.macs["model-1"], report.macs["model-0"]]


def test_a_cascade_that_no_member_is_worth_leaving_for_says_so(made, tmp_path):
    members = [{**one, "cost": cost} for one, cost in zip(reversed(by_cost(made)), (1.0, 5.0), strict=True)]
    done = ran(made, tmp_path / "out", members=members, fusion={"name": "cascade", "thresholds": [0.99]}, latency=None)
    verdict = json.loads((done.folder / "report.json").read_text())["verdict"]
    assert (
        verdict["kind"] == "regression"
        and "does not beat 'large'" in verdict["reason"]
        and "ask that member alone" in done.summary()
    )


def test_a_stage_that_answers_nothing_is_called_so(made, tmp_path):
    fusion = {"name": "cascade", "thresholds": [2.0]}
    done = ran(made, tmp_path / "out", members=by_cost(made), fusion=fusion, latency=None)
    for name, words in (("report.md", "nothing"), ("README.md", "none, it answers nothing")):
        lines = (done.folder / name).read_text().splitlines()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        assert ["small", words, "1", "0.0%", "0.0%"] in cells


def test_a_cascade_by_hand_needs_no_rows(made, tmp_path):
    done = ran(made, tmp_path / "out", data=None, fusion={"name": "cascade", "thresholds": [0.5], "confidence": "entropy"})
    config = Cascade.from_pretrained(done.folder).config
    assert (config.thresholds, config.confidence, config.costs) == ([0.5], "entropy", [1.0, 5.0]) and done.report is None


def test_a_member_may_be_an_ensemble_itself(made, tmp_path):
    inner = ParallelEnsemble.from_members([str(made / "model-0"), str(made / "model-1")])
    inner.save_pretrained(tmp_path / "inner")
    members = [{"model": str(made / "model-1"), "cost": 1.0}, {"model": str(tmp_path / "inner"), "cost": 2.0}]
    done = ran(made, tmp_path / "out", members=members, fusion={"name": "cascade", "thresholds": [0.6]})
    report = read_report(done.folder)
    assert report.parameters["inner"] == 2 * report.parameters["model-1"]
    both = torch.stack([answers(made / f"model-{k}", "test", made)[0].exp() for k in range(2)]).mean(0)
    first, labels = answers(made / "model-1", "test", made)
    sure = first.exp().amax(-1) >= 0.6
    found = torch.where(sure, first.argmax(-1), both.argmax(-1))
    assert report.rows[-1].metrics["accuracy"] == pytest.approx((found == labels).double().mean().item())
