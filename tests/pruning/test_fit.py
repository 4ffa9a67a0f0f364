"""Everything a pruning job can fail on is known before anything is pruned."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from hf_compress import CompressionTrainer
from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from tests.tiny import tiny_llama
from tests.training.runs import arguments, text_rows


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


@dataclass(frozen=True, kw_only=True)
class Needy(Criterion):
    """Reads a statistic; not registered, so that no contract test meets it."""

    name = "needy"
    needs = ("input_norm",)


def test_a_criterion_that_needs_statistics_is_refused_in_the_constructor(tmp_path):
    job = half(criterion=Needy())
    with pytest.raises(
        CompressionError, match="criterion 'needy' needs input_norm of model.*q_proj.*use criterion 'magnitude'"
    ):
        CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), train_dataset=text_rows(), pruning=job)


def test_statistics_that_are_missing_for_one_layer_are_refused_before_anything_changes():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    before = [module.weight.clone() for module in model]
    with pytest.raises(CompressionError, match="needs input_norm of 1"):
        prune(model, half(criterion=Needy()), {"0": {"input_norm": torch.ones(4)}})
    assert all(torch.equal(module.weight, weight) for module, weight in zip(model, before, strict=True))


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(62, 8), 62),
        (nn.Conv2d(3, 8, 4), 3),  # 3 * 4 * 4 would divide
        (nn.Conv2d(8, 8, 2, groups=8), 1),
        (nn.Conv1d(12, 8, 4, groups=2), 6),
    ],
    ids=["Linear", "Conv2d", "depthwise", "grouped"],
)
def test_a_pattern_that_does_not_fit_is_refused_by_layer_and_inputs(layer, inputs):
    model = nn.Sequential(nn.Linear(8, 8), layer)
    job = half(pattern=NM(), targets=["Linear", type(layer).__name__])
    for attempt in (Masks, prune):
        with pytest.raises(CompressionError, match=rf"pruning\.pattern: 1: m=4 does not divide the {inputs} inputs"):
            attempt(model, job)


def test_the_trainers_constructor_refuses_a_pattern_that_does_not_fit(tmp_path):
    model = tiny_llama(intermediate_size=62)
    with pytest.raises(CompressionError, match=r"mlp\.down_proj: m=4 does not divide the 62 inputs"):
        CompressionTrainer(model=model, args=arguments(tmp_path), train_dataset=text_rows(), pruning=half(pattern=NM()))


@pytest.mark.parametrize("changes", [{}, {"allocation": Global()}])
def test_layers_so_small_that_nothing_would_be_pruned_are_refused(changes):
    job = Pruning(schedule=Constant(final=0.1), **changes)
    with pytest.raises(CompressionError, match="0.1 rounds to no weight at all in layers of at most 4 weights"):
        Masks(nn.Sequential(nn.Linear(2, 2)), job)


def test_the_fewest_zeros_are_the_sum_of_rounded_layers():
    masks = Masks(nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3)), Pruning(schedule=Constant(final=0.55)))
    assert masks.fewest_zeros(0.55) == 2 + 5  # round(2.2) + round(4.95)
    masks.update(0.55)
    assert masks.num_pruned() == 7
