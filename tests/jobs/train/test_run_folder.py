"""Whose folder it is, and where a run goes on."""

import json

import pytest

from hf_compress import CompressionError, Recipe
from hf_compress.jobs.train.changes import in_words
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.training.checkpoints import last_whole_checkpoint
from tests.command_line import tree
from tests.small import recipe


def folder_of(tmp_path, changes=None):
    return RunFolder(Recipe.from_plain(recipe(tmp_path, changes)))


def checkpoint(folder, name, state="{}", optimizer=True):
    (folder / name).mkdir()
    if state is not None:
        (folder / name / "trainer_state.json").write_text(state)
    if optimizer:
        (folder / name / "optimizer.pt").write_bytes(b"PK\x05\x06" + bytes(18))  # an empty zip, as torch writes full ones


def test_the_newest_whole_checkpoint_is_gone_on_from(tmp_path):
    assert last_whole_checkpoint(tmp_path / "nowhere") is None
    checkpoint(tmp_path, "checkpoint-9")
    checkpoint(tmp_path, "checkpoint-10")
    checkpoint(tmp_path, "checkpoint-11", state=json.dumps({"step": 11})[:-3])
    checkpoint(tmp_path, "checkpoint-12", state=None)
    checkpoint(tmp_path, "checkpoint-13", optimizer=False)
    checkpoint(tmp_path, "checkpoint-last")
    assert last_whole_checkpoint(tmp_path, needs_optimizer=True) == tmp_path / "checkpoint-10"


def test_checking_writes_nothing_and_opening_marks_the_folder(tmp_path):
    folder = folder_of(tmp_path)
    folder.check(resume=False)
    assert tree(tmp_path) == []
    folder.open()
    assert tree(tmp_path) == ["out", "out/recipe.yaml"]
    folder.check(resume=True)
    with pytest.raises(CompressionError, match="holds this run already and it was interrupted; add --resume"):
        folder.check(resume=False)


def test_the_same_recipe_in_other_words_is_the_same_run(tmp_path):
    folder_of(tmp_path).open()
    folder_of(tmp_path, {"evaluation": {"untrained": True}, "pruning.pattern": "unstructured"}).check(resume=True)


def test_a_run_goes_on_with_its_weights_lying_otherwise(tmp_path):
    folder_of(tmp_path).open()
    folder_of(tmp_path, {"training.fsdp": True, "training.fsdp_config": {"version": 2}}).check(resume=True)


@pytest.mark.parametrize("content", [b"- a list\n", b"word\n", b"", bytes(range(128, 256)), b"a: [1\n"])
def test_a_recipe_file_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe.yaml").write_bytes(content)
    with pytest.raises(CompressionError, match=r"holds a different run|not valid YAML"):
        folder_of(tmp_path).check(resume=True)


def test_the_first_difference_by_hand():
    assert in_words({"a": {"b": 1, "c": [1]}}, {"a": {"b": 1, "c": [1]}}) is None
    assert in_words({"a": {"b": 1}}, {"a": {"b": 2}}) == "a.b is 1 there and 2 here"
    assert in_words({}, {"a": 1}) == "a is set here and not there"
    assert in_words({"a": {"b": 1}}, {"a": {}}) == "a.b is set there and not here"
