"""Members are trained, kept, gone on with, and become an ensemble."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_compress import CompressionError, Recipe
from hf_compress.training.trainer import CompressionTrainer
from tests.jobs.train.test_run import Killed, kill

NAMES = ("seed-42", "seed-43")


def weights(folder):
    return [(folder / "out" / "ensemble" / f"member-{k}" / "model.safetensors").read_bytes() for k in (0, 1)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory, recipe):
    """The folder of a run that nothing interrupted, and what it gave."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, Recipe.from_plain(recipe(folder)).run()


def test_members_are_finished_train_runs_and_the_ensemble_is_theirs(straight):
    folder, done = straight
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["ensemble", "members", "recipe.yaml"]
    assert list(done.members) == list(NAMES)
    for number, place in enumerate(done.members.values()):
        assert {"compression.json", "report.json", "README.md"} <= {file.name for file in place.iterdir()}
        own = AutoModelForSequenceClassification.from_pretrained(place).state_dict()
        within = AutoModelForSequenceClassification.from_pretrained(folder / "out" / "ensemble" / f"member-{number}")
        assert all(torch.equal(value, own[key]) for key, value in within.state_dict().items())
    first, second = weights(folder)
    assert first != second
    report = json.loads((folder / "out" / "ensemble" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == [*NAMES, "ensemble"]
    assert "fine-tuned model" in (done.members["seed-42"] / "README.md").read_text()


def test_a_member_is_what_its_recipe_alone_gives(straight, tmp_path):
    """Nothing of the member before it, trained in the same process, is left."""
    folder, _ = straight
    plain = Recipe.load(folder / "out" / "members" / "seed-43" / "recipe.yaml").to_plain()
    plain["training"]["output_dir"] = str(tmp_path / "alone")
    done = Recipe.from_plain(plain).run()
    assert (done.folder / "model.safetensors").read_bytes() == weights(folder)[1]


def test_an_interrupted_run_goes_on_with_the_member_it_was_at_and_ends_alike(straight, recipe, tmp_path, monkeypatch):
    folder, _ = straight
    job = Recipe.from_plain(recipe(tmp_path))
    with monkeypatch.context() as patch:
        kill(patch, CompressionTrainer, "training_step", 4 + 4)
        with pytest.raises(Killed):
            job.run()
    assert [path.name for path in (tmp_path / "out" / "members").glob("*/compressed")] == ["compressed"]
    kept = tmp_path / "out" / "members" / "seed-42" / "compressed" / "model.safetensors"
    written = kept.stat().st_mtime_ns
    steps = []
    with monkeypatch.context() as patch:
        original = CompressionTrainer.training_step
        patch.setattr(
            CompressionTrainer, "training_step", lambda *args, **kwargs: steps.append(1) or original(*args, **kwargs)
        )
        job.run(resume=True)
    assert len(steps) == 2 and kept.stat().st_mtime_ns == written
    assert weights(tmp_path) == weights(folder)
    rows = [json.loads((one / "out" / "ensemble" / "report.json").read_text())["rows"] for one in (folder, tmp_path)]
    assert [row["metrics"] for row in rows[0]] == [row["metrics"] for row in rows[1]]


def test_a_finished_run_is_not_repeated_and_another_recipe_is_refused(straight, recipe, monkeypatch):
    folder, _ = straight
    again = Recipe.from_plain(recipe(folder))
    with pytest.raises(CompressionError, match="holds this run already and it is finished; add --resume"):
        again.run()
    done = again.run(resume=True)
    assert done.ensemble is None and str(done.folder) in done.summary()
    for changes, words in (
        ({"train__training__max_steps": 5}, "train.training.max_steps is 4 there and 5 here"),
        ({"ensemble": {"combiner": "median"}}, "ensemble is set here and not there"),
        ({"diversity": {"name": "seeds", "num_members": 3}}, "diversity.num_members is 2 there and 3 here"),
    ):
        other = Recipe.from_plain(recipe(folder, **changes))
        assert any(words in str(one) for one in other.preflight()), words
        with pytest.raises(CompressionError, match="holds a different run"):
            other.run(resume=True)


def test_what_becomes_of_members_may_change_until_it_is_made(straight, recipe, tmp_path):
    folder, _ = straight
    shutil.copytree(folder / "out", tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "ensemble")
    for file in (tmp_path / "out").rglob("recipe.yaml"):
        file.write_text(file.read_text().replace(str(folder), str(tmp_path)))
    block = {"combiner": "mean_logits", "fit": {"temperatures": True}, "title": "warm"}
    Recipe.from_plain(recipe(tmp_path, ensemble=block)).run(resume=True)
    report = json.loads((tmp_path / "out" / "ensemble" / "report.json").read_text())
    assert report["title"] == "warm" and report["fitted"] == ["temperatures"]
    assert weights(tmp_path) == weights(folder)
