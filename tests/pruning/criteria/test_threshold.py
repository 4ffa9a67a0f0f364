"""Every weight below an absolute value goes."""

import json

import pytest
import torch
from torch import nn

from hf_compress import NM, Cubic, Global, Recipe, save_result
from hf_compress._errors import CompressionError
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.threshold import Threshold
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.schedules.linear import LinearRamp
from tests.small import recipe
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, llama_trainer, weights
from tests.training.test_resume import StopAt


def job(value=0.02, **schedule):
    return Pruning(criterion=Threshold(value=value), schedule=LinearRamp(**{"begin": 0, "end": 4, "every": 1, **schedule}))


def test_what_lies_below_the_value_goes_and_what_is_equal_stays():
    model = nn.Sequential(nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.5, -0.25, 0.125, 0.0], [-0.5, 0.24, -0.2, 0.25]]))
    masks = prune(model, Pruning(criterion=Threshold(value=0.25)))
    assert masks["0"].tolist() == [[True, True, False, False], [True, False, False, True]]
    assert measure_sparsity(model, Pruning())[""] == 0.5


def test_on_the_way_the_value_rises_as_the_schedule_does_and_masks_only_grow():
    model = nn.Sequential(nn.Linear(8, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 9.0) / 10)
    pruning = job(value=0.6)
    masks = Masks(model, pruning)
    for step, expected in ((0, 0), (1, 1), (2, 2), (3, 4), (4, 5), (9, 5)):  # 0.15, 0.3, 0.45, 0.6
        masks.update(pruning.amount(step, 10))
        masks.apply()
        assert masks.num_pruned() == expected == int(masks.num_zeros()), step


def test_a_value_that_takes_a_whole_layer_is_refused_by_name_and_changes_nothing(tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    with torch.no_grad():
        model[1].weight /= 1000
    before = model[0].weight.clone()
    with pytest.raises(
        CompressionError, match="threshold: all 64 weights of 1 lie below 0.01, and the layer would be gone"
    ):
        prune(model, Pruning(criterion=Threshold()))
    assert torch.equal(model[0].weight, before)
    trainer = llama_trainer(tmp_path, {"pruning": job(value=9.0, begin=8, end=10)})
    with pytest.raises(CompressionError, match="all 1024 weights of model.layers.0.self_attn.q_proj lie below 9"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_training_measures_logs_and_reports_what_came_out_and_resumes_to_the_same_bits(tmp_path, caplog):
    caplog.set_level("INFO", "hf_compress")
    ends = {}
    for name in ("straight", "resumed"):
        trainer = llama_trainer(
            tmp_path / name, {"pruning": job()}, max_steps=6, callbacks=[StopAt(3)] * (name == "resumed")
        )
        trainer.train()
        if name == "resumed":
            trainer = llama_trainer(tmp_path / name, {"pruning": job()}, max_steps=6)
            trainer.train(resume_from_checkpoint=True)
        ends[name] = weights(trainer.model)
    assert_equal_bits(*ends.values())
    found = measure_sparsity(trainer.model, job())[""]
    assert 0.1 < found < 0.9 and f"step 4: threshold prunes to sparsity {found:.4f}" in caplog.messages
    report = save_result(trainer, tmp_path / "out", baseline=tiny_llama(seed=0))
    _, untrained, ours = report.rows
    assert ours.sparsity == found and report.thresholds.sparsity is None
    initial, below, total = tiny_llama(seed=0), 0, 0
    for name in Masks(initial, job()).modules:
        weight = initial.get_submodule(name).weight
        below, total = below + int((weight.abs() < 0.02).sum()), total + weight.numel()
    assert untrained.sparsity == pytest.approx(below / total)
    card, plain = ((tmp_path / "out" / name).read_text() for name in ("README.md", "report.json"))
    assert f"{found:.4f}" in card and json.loads(plain)["rows"][2]["sparsity"] == found


def test_zeros_that_something_fills_again_are_found(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": job()}, max_steps=5)
    trainer.train()
    weight = trainer.model.model.layers[0].mlp.up_proj.weight
    with torch.no_grad():
        weight[weight == 0] = 0.5
    with pytest.raises(CompressionError, match="something wrote to pruned weights after the last step"):
        trainer.finalize()


def test_a_recipe_says_it_in_a_line(tmp_path):
    made = Recipe.from_plain(recipe(tmp_path, {"pruning": {"criterion": {"name": "threshold", "value": 0.01}}}))
    assert made.pruning.criterion == Threshold(value=0.01) and made.pruning.target is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"pattern": NM()},
            "threshold prunes whatever lies below its value, and the pattern n_m has no say in that; leave",
        ),
        ({"allocation": Global()}, "and the allocation global has no say in that; leave it out"),
        (
            {"schedule": Constant(final=0.7)},
            "so the sparsity is what comes out; leave schedule.final and schedule.initial out",
        ),
        (
            {"schedule": Cubic(initial=0.1)},
            "so the sparsity is what comes out; leave schedule.final and schedule.initial out",
        ),
    ],
)
def test_what_would_share_out_a_sparsity_is_refused(changes, sentence):
    with pytest.raises(CompressionError, match=sentence):
        Pruning(criterion=Threshold(), **changes)


def test_a_value_that_prunes_nothing_is_refused():
    with pytest.raises(CompressionError, match="value=0 prunes nothing; write the absolute value"):
        Threshold(value=0.0)
