"""What every strategy of a kind promises; a new one is tested without editing a list."""

import dataclasses
import itertools
import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress._registry import dump
from hf_compress.calibration.configuration import Calibration
from hf_compress.distillation.loss import DistillationLoss
from hf_compress.distillation.teacher import Teacher
from hf_compress.jobs.train.checks import CHECKS
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import ACCUMULATED, Criterion
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedule import Schedule
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.scheme import Scheme
from hf_compress.recipe.build import build
from hf_compress.recipe.checks import find_problems
from tests.calibration.seen import statistic_like
from tests.contracts.members import example
from tests.pruning.needy import Needy
from tests.tiny import tiny_llama
from tests.training.runs import llama_trainer

KINDS = (Criterion, Pattern, Schedule, Allocation, Scheme, DistillationLoss, Teacher)


def members(kind):
    return [pytest.param(cls, id=f"{kind.kind}-{name}") for name, cls in kind.available().items()]


@pytest.mark.parametrize("cls", [member for kind in KINDS for member in members(kind)])
def test_a_strategy_is_a_frozen_value_that_a_recipe_can_write_and_read(cls, tmp_path):
    made = example(cls, tmp_path)
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(cls))
    assert cls.__doc__ and cls.__module__.startswith(cls._package)
    kind = next(kind for kind in cls.__mro__ if "_registry" in vars(kind))
    for full in (False, True):
        problems = []
        assert build(kind, dump(made, full), "here", problems) == made, problems


def scores(shape=(8, 16), seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).round(decimals=1)  # with ties


@pytest.mark.parametrize("cls", members(Criterion))
def test_a_criterion_scores_in_fp32_without_touching_the_weight(cls):
    weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.bfloat16)
    before = weight.clone()
    generator = torch.Generator().manual_seed(1)
    stats = {need: statistic_like(need, weight.shape, generator) for need in cls.needs}
    if cls.accumulates:
        stats[ACCUMULATED] = torch.randn(weight.shape, generator=generator)
    known = {need: value.clone() for need, value in stats.items()}
    score = cls().score(weight, stats)
    assert score.shape == weight.shape and score.dtype is torch.float32 and score.isfinite().all()
    assert torch.equal(weight, before)
    assert all(torch.equal(value, known[need]) for need, value in stats.items())


@pytest.mark.parametrize("cls", [cls for cls in (*Criterion.available().values(), Needy) if cls.needs])
def test_a_criterion_without_its_statistics_is_refused_before_anything_is_pruned(cls):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    before = model[0].weight.clone()
    job = Pruning(criterion=cls())
    with pytest.raises(CompressionError, match=f"'{cls.name}' needs {cls.needs[0]}.*, measured on examples; give prune"):
        prune(model, job)
    asked = {"pruning": job, "calibration": None}
    assert [problem.path for problem in find_problems(CHECKS, asked)] == ["pruning.criterion"]
    assert find_problems(CHECKS, {**asked, "calibration": Calibration()}) == []
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("cls", [cls for cls in (*Criterion.available().values(), Needy) if cls.needs])
def test_a_criterion_gets_its_statistics_from_batches_and_from_a_trainers_data(cls, tmp_path):
    job = Pruning(criterion=cls(), schedule=Constant(final=0.5))
    pruned = tiny_llama()
    prune(
        pruned, job, calibration=[{"input_ids": tokens, "labels": tokens} for tokens in torch.arange(24).reshape(3, 2, 4)]
    )
    assert measure_sparsity(pruned, job)[""] == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(CompressionError, match=f"'{cls.name}' needs .*pass calibration=Calibration"):
        llama_trainer(tmp_path, {"pruning": job})
    trainer = llama_trainer(tmp_path, {"pruning": job, "calibration": Calibration(num_examples=6)}, max_steps=2)
    trainer.train()
    assert measure_sparsity(trainer.finalize(), job)[""] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("cls", members(Pattern))
@pytest.mark.parametrize("sparsity", [0.0, 0.13, 0.25, 0.5])
def test_a_pattern_prunes_the_exact_count_and_repeats_itself(cls, sparsity):
    mask = cls().mask(scores(), sparsity)
    assert mask.dtype is torch.bool and mask.shape == (8, 16)
    together = math.prod(cls().unit(8, 16))
    assert int((~mask).sum()) == round(sparsity * 128 / together) * together
    assert torch.equal(mask, cls().mask(scores(), sparsity))


@pytest.mark.parametrize("cls", members(Pattern))
def test_a_pattern_takes_what_is_pruned_already_first_and_only_adds_to_it(cls):
    masks = [cls().mask(scores(seed=1), 0.25)]
    for sparsity in (0.25, 0.4, 0.5):
        held = torch.where(masks[-1], scores(seed=2), -torch.inf)  # other scores: what is gone comes first all the same
        masks.append(cls().mask(held, sparsity) & masks[-1])
    together = math.prod(cls().unit(8, 16))
    counts = [int((~mask).sum()) for mask in masks]
    assert counts == [round(share * 128 / together) * together for share in (0.25, 0.25, 0.4, 0.5)]
    assert all(not (after & ~before).any() for before, after in itertools.pairwise(masks))


@pytest.mark.parametrize("cls", members(Schedule))
def test_a_schedule_rises_to_its_final_sparsity_and_stays(cls):
    at_once = cls().begin == cls().end
    schedule = cls(final=0.7, begin=5, end=5 if at_once else 40)
    values = [schedule.sparsity(step, 50) for step in range(51)]
    assert values == sorted(values)
    assert set(values[:5]) == {0.0} and set(values[40:]) == {0.7}


@pytest.mark.parametrize("cls", members(Allocation))
def test_an_allocation_shares_out_the_overall_sparsity(cls):
    layers = {"a": scores(seed=1), "b": 2 * scores((3, 8), seed=2), "c": scores((10, 10), seed=3) / 2}
    shares = cls().shares(layers, 0.4)
    total = sum(score.numel() for score in layers.values())
    mean = sum(shares[name] * score.numel() for name, score in layers.items()) / total
    assert mean == pytest.approx(0.4, abs=len(layers) / total)
    assert all(0 <= share <= 1 for share in shares.values())


@pytest.mark.parametrize("cls", members(Allocation))
@pytest.mark.parametrize("sparsity", [0.0, 0.13, 0.55, 0.9])
def test_an_allocation_promises_no_more_zeros_than_its_layers_round_to(cls, sparsity):
    layers = {str(size): scores((1, size), seed=size) for size in (1, 2, 3, 5, 4, 40)}
    shares = cls().shares(layers, sparsity)
    zeros = sum(round(shares[name] * score.numel()) for name, score in layers.items())
    promised = cls().fewest_zeros([score.numel() for score in layers.values()], sparsity)
    assert zeros - 2 * len(layers) <= promised <= zeros


@pytest.mark.parametrize("cls", members(Allocation))
def test_an_allocation_promises_no_more_zeros_than_layers_that_round_to_groups_have(cls):
    layers = {str(size): scores((1, size), seed=size) for size in (4, 12, 20, 40)}
    shares = cls().shares(layers, 0.4)
    zeros = sum(round(shares[name] * score.numel() / 4) * 4 for name, score in layers.items())
    assert 0 <= cls().fewest_zeros([score.numel() for score in layers.values()], 0.4, [4] * len(layers)) <= zeros


@pytest.mark.parametrize("cls", members(Scheme))
def test_zero_stays_exactly_zero_in_every_scheme(cls):
    args = cls().to_compressed_tensors(["Linear"]).weights
    weight = torch.randn(8, 256, generator=torch.Generator().manual_seed(0))
    weight[weight.abs() < 0.5] = 0.0
    quantized = fake_quantize_weight(weight, args)
    assert (quantized[weight == 0] == 0).all()
    assert float((quantized - weight).abs().max()) > 0
