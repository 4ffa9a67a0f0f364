"""Every mistake is one sentence, said before anything is computed, and the command ends with 2."""

import json

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_compress._yaml import write_yaml
from tests.ensembling.folders import images, named, saved
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


@pytest.fixture(scope="module")
def others(made, tmp_path_factory):
    """Models that are no members here."""
    place = tmp_path_factory.mktemp("others")
    saved([named(tiny_bert(3), "xyz")], [tiny_tokenizer()], place / "labels")
    saved([tiny_llama()], [tiny_tokenizer()], place / "task")
    saved(*images(), place / "images")
    broken = AutoModelForSequenceClassification.from_pretrained(made / "model-1")
    broken.classifier.bias.data[0] = float("nan")
    broken.save_pretrained(place / "broken")
    AutoTokenizer.from_pretrained(made / "model-1").save_pretrained(place / "broken")
    (place / "rows").mkdir()
    for split in ("train", "test"):
        (place / "rows" / f"{split}.jsonl").write_text(json.dumps({"text": "ab", "label": "a"}) + "\n")
    (place / "rows" / "validation.jsonl").write_text("")
    return place


CASES = {
    "other labels": ({"other": "labels/model-0"}, "labels/model-0 classifies x, y, z and the data a, b, c"),
    "another task": ({"other": "task/model-0"}, "members.1.model: "),
    "another modality": ({"other": "images/model-0"}, "members.1.model: "),
    "no folder": ({"other": "nowhere"}, "members.1.model: there is no folder"),
    "a negative weight": ({"first": {"weight": -1.0}}, "members.0: the weight of member"),
    "no weight at all": ({"first": {"weight": 0.0}, "second": {"weight": 0.0}}, "all weights are 0"),
    "a weight as a list": ({"first": {"weight": [1.0, 2.0]}}, "members.0.weight: a list given, a number expected"),
    "a threshold too many": (
        {"fusion": {"name": "cascade", "thresholds": [0.5, 0.5]}},
        "fusion.thresholds: 2 for 2 members",
    ),
    "a threshold above 1": (
        {"fusion": {"name": "cascade", "thresholds": [1.5]}},
        "fusion: thresholds.0 is 1.5; it must be in",
    ),
    "no limit": ({"fusion": "cascade"}, "fusion: nothing given; write one of least_quality"),
    "an unknown fusion": ({"fusion": "cascades"}, "fusion: unknown fusion 'cascades'; did you mean 'cascade'?"),
    "dear before cheap": (
        {"fusion": {"name": "cascade", "most_cost": 0.5}, "first": {"cost": 2.0}, "second": {"cost": 1.0}},
        "members: a cascade asks from cheap to dear",
    ),
    "one cost of two": (
        {"fusion": {"name": "cascade", "most_cost": 0.5}, "second": {"cost": 1.0}},
        "members.0.cost: other members",
    ),
    "a cost for all": ({"first": {"cost": 1.0}}, "members: parallel asks all members, whatever they cost"),
    "weights of a cascade": (
        {"fusion": {"name": "cascade", "most_cost": 0.5}, "first": {"weight": 2.0}},
        "members.0.weight: cascade makes nothing of weights; leave it out",
    ),
    "learned weights of a gate": (
        {"fusion": "gating", "fit": {"weights": True}},
        "fit.weights: gating makes nothing of weights",
    ),
    "a combiner of a classifier": (
        {"fusion": "stacking", "combiner": "mean_logits"},
        "combiner: stacking combines no answers",
    ),
    "members left out of a classifier": ({"fusion": "stacking", "on_nan": "leave_out"}, "on_nan: stacking has learned"),
    "nothing to learn on": (
        {"fusion": "gating", "data": None},
        "fusion: gating learns on validation rows, and there is no data",
    ),
    "a cascade of language models": (
        {"task": {"name": "causal_lm"}, "fusion": {"name": "cascade", "thresholds": [0.5]}},
        "fusion: cascade is for models that choose one class for a row",
    ),
    "weights of tokens for another combiner": (
        {"task": {"name": "causal_lm"}, "fit": {"weights": True}, "combiner": "mean_logits"},
        "fit.weights: of tokens only what came is kept",
    ),
    "no validation rows": ({"rows": True, "fit": {"weights": True}}, "data.path: "),
    "a student that is not there": ({"student": "nowhere"}, "student: "),
    "a student without rows": (
        {"student": "somewhere", "data": None},
        "student: it is measured beside the members, and there is no",
    ),
    "a student like a member": ({"student": "elsewhere/model-0"}, "student: a member is called 'model-0' too"),
    "more folds than rows": (
        {"fusion": {"name": "stacking", "folds": 41}},
        "fusion: folds=41 of 40 validation rows leaves some empty",
    ),
    "a share of no row": (
        {"fusion": {"name": "gating", "held_out": 0.01}},
        "fusion: held_out=0.01 of 40 rows leaves one side empty",
    ),
    "a name of two lines": ({"first": {"name": "a\nb"}}, "members.0: name='a\\nb' must be one line"),
    "no rows to time": ({"latency": {"rows": 0}}, "latency: rows=0 and rounds=7 must be 1 or more"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_2(case, recipe, made, others, tmp_path, call):
    changes, sentence = CASES[case]
    changes = dict(changes)
    second = others / changes.pop("other") if "other" in changes else made / "model-1"
    members = [
        {"model": str(made / "model-0"), **changes.pop("first", {})},
        {"model": str(second), **changes.pop("second", {})},
    ]
    if changes.pop("rows", False):
        changes["data"] = {"path": str(others / "rows")}
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(members=members, **changes)))
    code, _, complaints = call("run", tmp_path / "recipe.yaml")
    assert code == 2 and any(line.startswith(sentence) or sentence in line for line in complaints), complaints
    assert (
        len(complaints) <= (2 if "task" not in changes else 6)
        and "Traceback" not in "".join(complaints)
        and not (tmp_path / "out").exists()
    )


def test_a_seed_is_complained_about_once(recipe, tmp_path, call):
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(seed=-1)))
    assert call("check", tmp_path / "recipe.yaml")[::2] == (2, ["seed=-1 must lie between 0 and 2**32 - 1"])


def test_members_that_all_answer_nan_are_named_where_they_may_be_left_out(recipe, others, tmp_path, call):
    members = [{"model": str(others / "broken"), "name": name} for name in ("one", "two")]
    (tmp_path / "recipe.yaml").write_text(write_yaml(recipe(members=members, on_nan="leave_out")))
    code, _, complaints = call("run", tmp_path / "recipe.yaml")
    assert code == 2 and "'one' answers NaN to 40 of 40 rows of the validation split, so there is none" in complaints[0]
    assert len(complaints) == 2 and not (tmp_path / "out").exists()


def test_a_member_that_answers_nan_is_named(recipe, made, others, tmp_path, call):
    members = [{"model": str(made / "model-0")}, {"model": str(others / "broken")}]
    plain = recipe(members=members, fusion={"name": "cascade", "most_cost": 0.9})
    (tmp_path / "recipe.yaml").write_text(write_yaml(plain))
    code, _, complaints = call("run", tmp_path / "recipe.yaml")
    assert code == 2 and any("members.1.model: 'broken' answers NaN to 40 of 40 rows" in line for line in complaints)
