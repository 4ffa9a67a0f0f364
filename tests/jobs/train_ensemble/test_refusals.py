"""What is refused before anything is trained or written."""

import pytest

from hf_compress import Recipe, _distributed
from hf_compress._problems import RecipeError
from hf_compress._yaml import write_yaml
from tests.command_line import tree


def refused(plain):
    """Every sentence, of fields and of what they name."""
    try:
        return [str(problem) for problem in Recipe.from_plain(plain, sources=True).preflight()]
    except RecipeError as error:
        return [str(problem) for problem in error.problems]


def test_check_names_everything_at_once_and_ends_with_2(recipe, call, tmp_path):
    plain = recipe(tmp_path, train__model="./nowhere", train__training__max_steps=0, workers=0)
    plain["diversity"]["num_members"] = 1
    plain["ensemble"] = {"combiner": "no_such"}
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(plain))
    code, _, said = call("check", file)
    assert code == 2
    assert any(one.startswith("diversity: num_members=1 must be 2 or more") for one in said)
    plain["diversity"]["num_members"] = 2
    file.write_text(write_yaml(plain))
    code, _, said = call("check", file)
    assert code == 2 and any(one.startswith("workers=0 must be 1 or more") for one in said)
    assert any(one.startswith("train.training.max_steps: ") for one in said)
    assert any(one.startswith("ensemble.combiner: unknown combiner 'no_such'") for one in said)
    assert any(one.startswith("train.model: there is no folder './nowhere'") for one in said)
    assert sum(one.startswith("train.model: ") for one in said) == 1  # of all members, once
    assert tree(tmp_path) == ["recipe.yaml"]


def test_a_right_recipe_is_found_right_and_nothing_is_written(recipe, call, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(recipe(tmp_path)))
    assert call("check", file)[::2] == (0, [])
    assert tree(tmp_path) == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"diversity": "sedes"}, "diversity: unknown diversity 'sedes'; did you mean 'seeds'?"),
        ({"train__training__output_dir": "o"}, "train.training.output_dir: each member has a folder of its own"),
        ({"train__export": {"repo_id": "a/b"}}, "train.export.repo_id: members are not published one by one"),
        ({"train__job": "merge"}, "train.job: it is 'merge', and members are trained by a recipe of the job train"),
        ({"train__dense": {}}, "train.dense: nothing is compressed"),
        ({"train__data": {"path": "nowhere.jsonl"}}, "train.data.path: "),
        ({"train__training": 5}, "train.training: 5 (a whole number) given, a mapping expected"),
        (
            {"diversity": {"name": "snapshots"}, "train__training": {"warmup_steps": "a"}},
            "train.training.warmup_steps: 'a' (text) given",
        ),
        ({"diversity": {"name": "recipes", "recipes_of": ["no.yaml", {}]}}, "diversity: there is no recipe no.yaml"),
        ({"train": "nowhere.yaml"}, "train: there is no recipe nowhere.yaml"),
        ({"ensemble": {"combiner": "mea"}}, "ensemble.combiner: unknown combiner 'mea'"),
        ({"train__training__seed": -1}, "train.training.seed: -1 (a whole number) given, a whole number from 0 to 2**31"),
        ({"train__training__seed": "x"}, "train.training.seed: 'x' (text) given"),
        (
            {"diversity": {"name": "recipes", "recipes_of": [{}, {"model": "m"}, {}]}},
            "diversity: recipes_of: recipe-2 says the same as recipe-0, so both would be one model",
        ),
        ({"ensemble": {"student": "./nobody"}}, "ensemble.student: there is no folder './nobody'"),
        ({"ensemble": {"members": []}}, "ensemble.members: they are what is trained here; leave it out"),
        ({"ensemble": {"fit": {"weights": True}, "combiner": "median"}}, "ensemble.fit.weights: the result of median"),
    ],
)
def test_mistakes_say_where_they_are(recipe, tmp_path, changes, sentence):
    said = refused(recipe(tmp_path, **changes))
    assert any(one.startswith(sentence) for one in said), said
    assert tree(tmp_path) == []


def test_a_file_of_something_else_is_not_written_over(recipe, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    assert refused(recipe(tmp_path)) == [
        f"output_dir: {tmp_path / 'out'} holds files of something else; name an empty or new folder"
    ]


def test_a_train_recipe_may_stand_in_a_file_of_its_own(recipe, tmp_path):
    plain = recipe(tmp_path)
    train = {"job": "train", **plain["train"]}
    train["training"] = {**train["training"], "output_dir": "elsewhere"}
    (tmp_path / "train.yaml").write_text(write_yaml(train))
    assert refused({**plain, "train": str(tmp_path / "train.yaml")}) == []


def test_several_processes_of_a_launcher_are_refused(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(_distributed, "world_size", lambda: 2)
    with pytest.raises(RecipeError, match="workers: N trains N members at a time.* is the work of one process"):
        Recipe.from_plain(recipe(tmp_path))


def test_a_graph_of_members_in_16_bits_is_refused_before_they_are_trained(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_compress.export.exported_format.missing_packages", lambda backend: "")
    said = refused(recipe(tmp_path, ensemble={"export": {"format": "onnx"}}, train__export={"dtype": "bfloat16"}))
    assert any("ensemble.export.format: onnx holds members that are stored in float32, and " in one for one in said), said
    assert refused(recipe(tmp_path, ensemble={"export": {"format": "onnx"}}, train__export={"dtype": "float32"})) == []
