"""Blocks with more outliers keep more."""

import pytest
import torch
from torch import nn

from hf_compress import Calibration
from hf_compress._errors import CompressionError
from hf_compress.jobs.train.checks import CHECKS
from hf_compress.pruning.allocations.owl import OWL
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.recipe.checks import find_problems
from tests.training.runs import llama_trainer


def by_loops(blocks, sparsity, m=5.0, half=0.08):
    """The procedure for blocks of one size: block -> the A_ij of all its layers."""
    ratios = []
    for values in blocks:
        mean = sum(values) / len(values)
        ratios.append(sum(value > m * mean for value in values) / len(values))
    scaled = [(ratio - min(ratios)) / (max(ratios) - min(ratios)) * 2 * half for ratio in ratios]
    return [1 - (one - sum(scaled) / len(scaled) + 1 - sparsity) for one in scaled]


def test_three_blocks_by_hand():
    # Only the second block has a number above five times its mean: one of ten, 100 above 54.5.
    none, one, two = [1.0] * 10, [1.0] * 9 + [100.0], [0.0] * 8 + [1.0, 1.0]
    scores = {f"layers.{number}.up": torch.tensor([values]) for number, values in enumerate((none, one, two))}
    # Two ones among eight zeros: their mean is 0.2, and 1 is not above 5 * 0.2 = 1.
    shares = OWL().shares(scores, 0.7)
    assert shares == pytest.approx(
        {"layers.0.up": 0.7 + 0.16 / 3, "layers.1.up": 0.7 - 0.32 / 3, "layers.2.up": 0.7 + 0.16 / 3}
    )


@pytest.mark.parametrize(("m", "half"), [(5.0, 0.08), (3.0, 0.15)])
def test_it_agrees_with_a_loop_over_the_formula(m, half):
    generator = torch.Generator().manual_seed(0)
    scores = {}
    for block in range(4):
        for part, shape in (("up", (6, 20)), ("down", (20, 6))):
            scores[f"model.layers.{block}.{part}"] = torch.rand(shape, generator=generator) ** (2 + 4 * block)
    blocks = [
        [value for part in ("up", "down") for value in scores[f"model.layers.{block}.{part}"].flatten().tolist()]
        for block in range(4)
    ]
    expected = by_loops(blocks, 0.6, m, half)
    found = OWL(m=m, lambda_=half).shares(scores, 0.6)
    for name, share in found.items():
        assert share == pytest.approx(expected[int(name.split(".")[2])]), name
    assert max(found.values()) - min(found.values()) == pytest.approx(2 * half)


@pytest.mark.parametrize("sparsity", [0.0, 0.02, 0.5, 0.97])
def test_near_the_ends_the_overall_sparsity_still_comes_out(sparsity):
    generator = torch.Generator().manual_seed(1)
    scores = {f"h.{block}.a": torch.rand(5 + block, 30, generator=generator) ** (1 + 5 * block) for block in range(3)}
    shares = OWL().shares(scores, sparsity)
    assert all(0 <= share <= 1 for share in shares.values())
    total = sum(score.numel() for score in scores.values())
    assert sum(shares[name] * score.numel() for name, score in scores.items()) == pytest.approx(sparsity * total, abs=1e-6)


def test_without_outliers_every_layer_has_the_same():
    assert OWL().shares({"0": torch.ones(2, 3), "1": torch.ones(4, 4)}, 0.3) == pytest.approx({"0": 0.3, "1": 0.3})


def test_outliers_are_those_of_weights_and_inputs_whatever_the_criterion():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    norms = [torch.ones(20), torch.tensor([100.0] + [1.0] * 19)]
    scores = {str(place): model[place].weight.detach().abs() * norm for place, norm in enumerate(norms)}
    job = Pruning(criterion=Magnitude(), allocation=OWL(), schedule=Constant(final=0.6))
    prune(model, job, {"input_norm": {f"{place}.weight": norm for place, norm in enumerate(norms)}})
    found, expected = measure_sparsity(model, job), OWL().shares(scores, 0.6)
    assert expected["1"] < 0.6 < expected["0"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1 / 400)


def test_where_outliers_move_while_a_model_trains_the_overall_sparsity_comes_out_all_the_same():
    """Each move another block has the outliers, so that the first ones hold more zeros than they then would be given."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 30), nn.Linear(30, 20))
    masks = Masks(model, Pruning(allocation=OWL(lambda_=0.3), schedule=Constant(final=0.6)))
    for move, sparsity in enumerate((0.2, 0.4, 0.5, 0.6)):
        norms = [torch.ones(layer.in_features) for layer in model]
        norms[move % 3][0] = 100.0
        before = {name: int((~keep).sum()) for name, keep in masks.keep.items()}
        masks.update(sparsity, {str(place): {"input_norm": norm} for place, norm in enumerate(norms)})
        masks.apply()
        assert abs(masks.num_pruned() - sparsity * masks.num_weights()) <= 3
        assert masks.num_pruned() >= masks.fewest_zeros(sparsity)
        assert all(int((~keep).sum()) >= before.get(name, 0) for name, keep in masks.keep.items())


def test_without_examples_it_is_refused_by_prune_check_and_trainer(tmp_path):
    job = Pruning(allocation=OWL(), schedule=Constant(final=0.5))
    sentence = "pruning.allocation: allocation 'owl' needs input_norm, measured on examples; .*or use allocation 'uniform'"
    with pytest.raises(CompressionError, match=sentence):
        prune(nn.Sequential(nn.Linear(4, 4)), job)
    with pytest.raises(CompressionError, match=sentence):
        llama_trainer(tmp_path, {"pruning": job})
    found = find_problems(CHECKS, {"pruning": job, "calibration": None})
    assert [problem.path for problem in found] == ["pruning.allocation"]
    trainer = llama_trainer(tmp_path, {"pruning": job, "calibration": Calibration(num_examples=6)}, max_steps=2)
    trainer.train()
    assert measure_sparsity(trainer.finalize(), job)[""] == pytest.approx(0.5, abs=1e-3)


def test_settings_that_are_none_are_refused():
    with pytest.raises(CompressionError, match="m=1 must be above 1"):
        OWL(m=1.0)
    with pytest.raises(CompressionError, match="lambda_=0.6 must lie in"):
        OWL(lambda_=0.6)
