"""Thresholds against all that there are."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.fitting.cascade import NEVER, stages_of
from hf_compress.ensembling.fitting.thresholds import choose_thresholds, quality_cost_curve

COSTS = [1.0, 3.0, 10.0, 20.0]


def made(num_stages, num_rows, seed, decimals=2):
    """Confidences (M, N) with ties and whether each stage is right (M, N); later stages are right more often."""
    generator = torch.Generator().manual_seed(seed)
    hard = torch.rand(num_rows, generator=generator)
    skill = torch.linspace(0.5, 0.9, num_stages).unsqueeze(1)
    right = torch.rand(num_stages, num_rows, generator=generator) < 1 - 2 * hard * (1 - skill)
    noise = 0.3 * torch.rand(num_stages, num_rows, generator=generator)
    return (1 - hard + noise).clamp(0, 1).round(decimals=decimals), right


def all_thresholds(stages):
    """Every set of thresholds that does something else, for three stages or two."""
    first, *rest = [[NEVER, *own.unique().tolist()] for own in stages.confidences]
    return [stages.run([a, *more]) for a in first for more in ([[b] for b in rest[0]] if rest else [[]])]


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_of_two_stages_has_every_threshold_with_what_it_does(seed):
    confidences, right = made(2, 60, seed)
    stages = stages_of(confidences, right, COSTS[:2])
    curve = quality_cost_curve(confidences, right, COSTS[:2])
    assert len(curve.thresholds) == len(confidences[0].unique()) + 1
    assert curve.thresholds[0] == NEVER and curve.thresholds[-1] == 0 and (curve.thresholds.diff() < 0).all()
    for place, threshold in enumerate(curve.thresholds.tolist()):
        result = stages.run([threshold])
        assert float(curve.quality[place]) == pytest.approx(result.quality)
        assert float(curve.cost[place]) == pytest.approx(result.cost)
    whole = {(round(one.quality, 9), round(one.cost, 9)) for one in all_thresholds(stages)}
    assert whole == {(round(q, 9), round(c, 9)) for q, c in zip(curve.quality.tolist(), curve.cost.tolist(), strict=True)}


@pytest.mark.parametrize("num_stages", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_they_are_the_best_of_all_under_either_limit(num_stages, seed):
    confidences, right = made(num_stages, 30, seed)
    costs = COSTS[:num_stages]
    everything = all_thresholds(stages_of(confidences, right, costs))
    top = max(one.quality for one in everything)
    for share in (0.9, 0.97, 1.0):
        found = choose_thresholds(confidences, right, costs, least_quality=share * top)
        assert found.cost == pytest.approx(min(one.cost for one in everything if one.quality >= share * top - 1e-9))
        assert found.quality >= share * top - 1e-9
    for share in (0.2, 0.5, 0.8):
        limit = costs[0] + share * sum(costs[1:])
        found = choose_thresholds(confidences, right, costs, most_cost=limit)
        assert found.quality == pytest.approx(max(one.quality for one in everything if one.cost <= limit + 1e-9))
        assert found.cost <= limit + 1e-9


def test_four_stages_are_no_worse_than_any_one_of_them_alone():
    confidences, right = made(4, 100, 0)
    for stage in (1, 3):
        quality, cost = float(right[stage].double().mean()), sum(COSTS[: stage + 1])
        assert choose_thresholds(confidences, right, COSTS, least_quality=quality).cost <= cost
        assert choose_thresholds(confidences, right, COSTS, most_cost=cost).quality >= quality


def test_what_is_said_of_them_is_what_they_do():
    confidences, right = made(3, 200, 1)
    found = choose_thresholds(confidences, right, COSTS[:3], most_cost=6.0)
    assert found == stages_of(confidences, right, COSTS[:3]).run(found.thresholds)
    assert 0 < found.cost <= 6 and sum(found.shares) == pytest.approx(1)


def test_a_threshold_lies_between_the_rows_that_it_parts():
    confidences = torch.tensor([[0.8, 0.4]])
    found = choose_thresholds(confidences, torch.tensor([[1, 0], [1, 1]]), [1, 1], least_quality=1.0)
    assert found.thresholds == (pytest.approx(0.6),)


@pytest.mark.parametrize("odd", [False, True])
def test_neighbours_in_single_precision_are_parted_too(odd):
    low = torch.tensor(0.7) if not odd else torch.nextafter(torch.tensor(0.7), torch.tensor(1.0))
    high = torch.nextafter(low, torch.tensor(1.0))  # half way between them rounds to the one or to the other
    confidences = torch.stack((high, low)).unsqueeze(0)
    found = choose_thresholds(confidences, torch.tensor([[1, 0], [1, 1]]), [1, 1], least_quality=1.0)
    assert (confidences >= found.thresholds[0]).tolist() == [[True, False]]


def test_any_quality_that_adds_up_will_do():
    confidences, right = made(2, 100, 2)
    likelihood = torch.where(right, -0.1, -2.0)
    limit = float(likelihood[1].mean())  # in single precision, so a little more or less than the last stage has
    found = choose_thresholds(confidences, likelihood, [1, 5], least_quality=limit)
    assert found.quality == pytest.approx(limit, abs=1e-6) and found.cost <= 6


def test_limits_that_cannot_be_kept_are_refused():
    confidences, right = made(3, 50, 0)
    with pytest.raises(CompressionError, match="no thresholds reach the quality 1.5; the best that were found have"):
        choose_thresholds(confidences, right, COSTS[:3], least_quality=1.5)
    with pytest.raises(CompressionError, match="a row costs 1 or more, since all visit the first stage; most_cost=0.5"):
        choose_thresholds(confidences, right, COSTS[:3], most_cost=0.5)
    for limits in ({}, {"least_quality": 0.5, "most_cost": 3.0}):
        with pytest.raises(CompressionError, match="give least_quality or most_cost, and not both"):
            choose_thresholds(confidences, right, COSTS[:3], **limits)
    with pytest.raises(CompressionError, match="3 stages have no single curve"):
        quality_cost_curve(confidences, right, COSTS[:3])
