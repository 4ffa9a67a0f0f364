"""Stages of a sum: their recipes, and a run against the sum by hand."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hf_compress import Boosting, CompressionError, Recipe, ResidualEnsemble
from hf_compress._problems import RecipeError

BASE = {"job": "train-member", "model": "m", "training": {"max_steps": 4}}


def test_each_stage_knows_those_before_it():
    way = Boosting(num_members=3, step_size=0.5)
    made = way.placed(way.recipes(BASE, 7, lambda: 4), "out/members")
    assert list(made) == ["stage-1", "stage-2", "stage-3"]
    assert [one["training"]["seed"] for one in made.values()] == [7, 8, 9]
    assert made["stage-3"]["residual"] == {
        "step_size": 0.5,
        "earlier": ["out/members/stage-1/compressed", "out/members/stage-2/compressed"],
    }
    assert made["stage-1"]["residual"]["earlier"] == []


def test_stages_are_trained_on_what_is_left_and_become_a_sum(recipe, tmp_path):
    job = recipe(tmp_path, diversity={"name": "boosting", "num_members": 2}, ensemble={"latency": None})
    Recipe.from_plain(job).run()
    made = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "ensemble")
    assert type(made) is ResidualEnsemble
    ids = torch.randint(4, 60, (5, 6), generator=torch.Generator().manual_seed(0))
    places = [tmp_path / "out" / "members" / f"stage-{k}" / "compressed" for k in (1, 2)]
    members = [AutoModelForSequenceClassification.from_pretrained(place) for place in places]
    with torch.no_grad():
        wanted = sum(size * one(ids).logits.float() for size, one in zip(made.config.step_sizes, members, strict=True))
        torch.testing.assert_close(made(ids).logits, wanted)
    report = json.loads((tmp_path / "out" / "ensemble" / "report.json").read_text())
    assert report["fitted"] == ["step sizes"]
    card = (tmp_path / "out" / "ensemble" / "README.md").read_text()
    assert "and their logits are added, each times a step size. No weights" in card
    assert "Step sizes were fitted on the validation rows." in card
    own = json.loads((places[1] / "report.json").read_text())
    assert own["setting"]["boosting"].startswith("trained on what 1 earlier leave over")
    # A stage by itself gives the same weights, and other ones where nothing is before it.
    plain = Recipe.load(places[1].parent / "recipe.yaml").to_plain()
    for name, residual, same in (("again", plain["residual"], True), ("first", {}, False)):
        other = {**plain, "residual": residual, "training": {**plain["training"], "output_dir": str(tmp_path / name)}}
        done = Recipe.from_plain(other).run()
        files = [place / "model.safetensors" for place in (done.folder, places[1])]
        assert (files[0].read_bytes() == files[1].read_bytes()) is same


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ensemble": {"fusion": "stacking"}}, "ensemble.fusion: it is 'stacking', and members of boosting are made for"),
        ({"workers": 2}, "workers=2: under boosting each member goes on from the one before it"),
        ({"train__distillation": {}}, "residual: its loss and its members go without distillation"),
    ],
)
def test_what_a_sum_cannot_have_is_refused(recipe, tmp_path, changes, words):
    plain = recipe(tmp_path, diversity={"name": "boosting", "num_members": 2}, **changes)
    with pytest.raises(RecipeError, match=words):
        raise RecipeError(Recipe.from_plain(plain, sources=True).preflight())


def test_a_step_that_goes_nowhere_is_refused():
    with pytest.raises(CompressionError, match="step_size=0.0 must be a finite number above 0"):
        Boosting(step_size=0.0)
