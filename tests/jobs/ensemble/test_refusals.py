"""What an ensemble job refuses before it computes anything."""

import json

import pytest
from transformers import AutoConfig

from hf_compress import Recipe
from hf_compress._problems import RecipeError
from tests.ensembling.folders import images, named, saved
from tests.tiny import tiny_bert, tiny_tokenizer


def refused(plain):
    """Every sentence, of fields and of what they name."""
    try:
        return [str(problem) for problem in Recipe.from_plain(plain).preflight()]
    except RecipeError as error:
        return [str(problem) for problem in error.problems]


def test_every_mistake_is_named_in_one_go(recipe, made):
    members = [{"model": str(made / "model-0")}, {"model": str(made / "nowhere")}]
    said = refused(recipe(members=members, data={"path": str(made / "no-data")}))
    assert len(said) == 2 and any(one.startswith("members.1.model: there is no folder") for one in said)
    assert any(one.startswith("data.path: ") for one in said)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fit": {"weights": True}, "data": None}, "fit: weights and temperatures are learned on validation rows"),
        ({"fit": {"weights": True}, "combiner": "median"}, "fit.weights: the result of median moves in jumps"),
        ({"task": {"name": "chat"}}, "task: this job makes no ensembles for chat"),
        (
            {"task": {"name": "causal_lm"}, "fit": {"temperatures": True}},
            "fit: temperatures are learned of rows of one label",
        ),
    ],
)
def test_fields_that_do_not_go_together(recipe, changes, sentence):
    assert any(one.startswith(sentence) for one in refused(recipe(**changes)))


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [((-1.0, 1.0), "members.0: the weight of member"), ((0.0, 0.0), "all weights are 0")],
)
def test_weights_that_mean_nothing(recipe, made, weights, sentence):
    members = [{"model": str(made / f"model-{k}"), "weight": weight} for k, weight in enumerate(weights)]
    assert any(sentence in one for one in refused(recipe(members=members)))


def test_weights_that_are_given_are_not_learned_too(recipe, made):
    members = [{"model": str(made / "model-0"), "weight": 2.0}, {"model": str(made / "model-1")}]
    said = refused(recipe(members=members, fit={"weights": True}))
    assert said == ["fit.weights: weights are to be learned, and members.0.weight says 2; leave one out"]


def test_one_member_is_no_ensemble_and_two_of_one_name_are_not_told_apart(recipe, made):
    one = {"model": str(made / "model-0"), "name": "same"}
    assert any("an ensemble of 1 member(s) is none" in said for said in refused(recipe(members=[one])))
    assert any("two members are called 'same'" in said for said in refused(recipe(members=[one, one])))
    assert not any("weights" in said for said in refused(recipe(members=[])))
    assert any("members.0: name is empty" in said for said in refused(recipe(members=[{**one, "name": " "}, one])))


def test_members_with_other_labels_or_of_another_modality(recipe, made, tmp_path):
    (other,) = saved([named(tiny_bert(3), "xyz")], [tiny_tokenizer()], tmp_path / "other")
    said = refused(recipe(members=[{"model": str(made / "model-0")}, {"model": other}], data=None))
    assert any("has the labels 'x', 'y', 'z'" in one for one in said), said
    image = saved(*images(), tmp_path / "images")[0]
    assert AutoConfig.from_pretrained(image).model_type == "vit"
    said = refused(recipe(members=[{"model": str(made / "model-0")}, {"model": image}]))
    assert said and all(one.startswith("members.1.model: ") for one in said)


def test_numbers_for_labels_that_members_number_differently_need_names(recipe, made, tmp_path):
    for file in (made / "data").iterdir():
        rows = map(json.loads, file.read_text().splitlines())
        (tmp_path / file.name).write_text(
            "\n".join(json.dumps({**row, "label": "abc".index(row["label"])}) for row in rows)
        )
    numbers = {"data": {"path": str(tmp_path)}, "output_dir": str(tmp_path / "out")}
    said = refused(recipe(**numbers))
    words = (
        "the data's labels are numbers, and 0 is 'a' for member 'model-0' and 'c' for member 'model-1'; write task.classes"
    )
    assert len(said) == 1 and words in said[0]
    task = {"name": "sequence_classification", "length": 16, "classes": ["a", "b", "c"]}
    named = Recipe.from_plain(recipe(**numbers, task=task)).open()["opened"]
    words = Recipe.from_plain(recipe(output_dir=str(tmp_path / "out"))).open()["opened"]
    for one, other in zip(named, words, strict=True):
        assert list(one.opened.examples["test"]["labels"]) == list(other.opened.examples["test"]["labels"])


def test_a_folder_has_no_revision(recipe, made):
    members = [{"model": str(made / "model-0"), "revision": "main"}, {"model": str(made / "model-1")}]
    assert any("is a folder, which has no revision" in one for one in refused(recipe(members=members)))


def test_the_result_lies_in_no_member(recipe, made):
    said = refused(recipe(output_dir=str(made / "model-0" / "inside")))
    assert any("would lie in" in one and "which is an input" in one for one in said)
