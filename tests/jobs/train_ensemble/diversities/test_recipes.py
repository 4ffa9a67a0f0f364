"""How a member's own words lie over those that all share."""

import pytest

from hf_compress import CompressionError
from hf_compress.jobs.train_ensemble.diversities.recipes import MemberRecipes

BASE = {
    "job": "train-member",
    "model": "m",
    "data": {"path": "d"},
    "task": {"name": "ctc", "length": 3},
    "training": {"max_steps": 4},
}


def made(*own):
    return list(MemberRecipes(recipes_of=own).recipes(BASE, 0, lambda: 4).values())


def test_a_member_changes_what_it_says_and_keeps_the_rest():
    first, second = made({"model": "n", "training": {"seed": 3}}, {"task": {"name": "causal_lm"}})
    assert first == {**BASE, "model": "n", "training": {"max_steps": 4, "seed": 3}}
    assert second == {**BASE, "task": {"name": "causal_lm"}}


def test_a_file_is_a_recipe_too_and_its_folder_is_not_used(tmp_path):
    (tmp_path / "own.yaml").write_text("job: train\nmodel: n\ntraining:\n  output_dir: o\n  seed: 2\n")
    assert made(str(tmp_path / "own.yaml"), {})[0] == {**BASE, "model": "n", "training": {"max_steps": 4, "seed": 2}}


def test_members_of_other_data_are_refused_and_fewer_rows_are_not():
    with pytest.raises(CompressionError, match="recipe-1 takes other data than recipe-0"):
        made({}, {"data": {"path": "other"}})
    assert made({}, {"data": {"max_train": 9}})[1]["data"] == {"path": "d", "max_train": 9}


def test_one_recipe_is_refused():
    with pytest.raises(CompressionError, match="recipes_of: its length, 1, must be 2 or more"):
        MemberRecipes(recipes_of=({},))
