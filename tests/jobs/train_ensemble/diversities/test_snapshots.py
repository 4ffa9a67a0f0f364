"""Where cycles end, what is refused, and that members are those of one training."""

import math

import pytest
import torch
from safetensors.torch import load_file
from transformers import get_cosine_with_hard_restarts_schedule_with_warmup

from hf_compress import CompressionError, Recipe
from hf_compress.jobs.train_ensemble.diversities.snapshots import CycleSnapshots

BASE = {"job": "train-member", "model": "m", "training": {"warmup_steps": 2, "learning_rate": 0.1}}


def test_cycles_are_equally_long_and_the_rate_is_that_of_the_formula():
    made = CycleSnapshots(num_members=3).recipes(BASE, 0, lambda: 15)
    assert [one["until"] for one in made.values()] == [6, 10, 14]
    training = made["snapshot-1"]["training"]
    assert all(one["training"] == training for one in made.values())
    assert training["max_steps"] == 14 and training["lr_scheduler_kwargs"] == {"num_cycles": 3}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    schedule = get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 2, 14, num_cycles=3)
    for step in range(14):
        by_hand = 0.05 * (math.cos(math.pi * ((step - 2) % 4) / 4) + 1) if step >= 2 else 0.1 * step / 2
        assert schedule.get_last_lr()[0] == pytest.approx(by_hand, abs=1e-9)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pruning": {}}, "train.pruning is complete at its end alone"),
        ({"training": {"lr_scheduler_type": "linear"}}, "falls along a cosine in each cycle"),
        ({"training": {"save_strategy": "no"}}, "goes on from whole checkpoints"),
        ({"training": {"load_best_model_at_end": True}}, "the model at its cycle's end"),
        ({}, "num_members=3 cycles do not fit into 2 optimizer steps"),
    ],
)
def test_what_stages_of_one_training_cannot_have_is_refused(changes, words):
    with pytest.raises(CompressionError, match=words):
        CycleSnapshots(num_members=3).recipes({**BASE, **changes}, 0, lambda: 2)


def test_members_are_the_checkpoints_of_one_training(recipe, tmp_path):
    job = Recipe.from_plain(recipe(tmp_path, diversity={"name": "snapshots", "num_members": 2}))
    done = job.run()
    plain = Recipe.load(tmp_path / "out" / "members" / "snapshot-2" / "recipe.yaml").to_plain()
    assert (plain.pop("until"), plain["training"]["max_steps"]) == (4, 4)
    plain["training"]["output_dir"] = str(tmp_path / "one")
    plain["training"]["save_steps"] = 1
    Recipe.from_plain(plain).run()  # uninterrupted
    for name, step in (("snapshot-1", 2), ("snapshot-2", 4)):
        wanted = load_file(tmp_path / "one" / f"checkpoint-{step}" / "model.safetensors")
        found = load_file(done.members[name].parent / f"checkpoint-{step}" / "model.safetensors")
        assert all(torch.equal(value, wanted[key]) for key, value in found.items())
        stored = load_file(done.members[name] / "model.safetensors")
        assert all(torch.equal(value, wanted[key].to(value.dtype)) for key, value in stored.items())
