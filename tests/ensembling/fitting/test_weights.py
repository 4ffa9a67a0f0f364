"""Weights against another solver, a grid, and their own optimality."""

import itertools

import numpy
import pytest
import torch
from scipy.optimize import minimize

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiners.hard_vote import HardVote
from hf_compress.ensembling.combiners.maximum import Maximum
from hf_compress.ensembling.combiners.mean_logits import MeanLogits
from hf_compress.ensembling.combiners.mean_probabilities import MeanProbabilities
from hf_compress.ensembling.combiners.median import Median
from hf_compress.ensembling.combiners.product_of_experts import ProductOfExperts
from hf_compress.ensembling.fitting.weights import fit_weights, mixture_weights
from hf_compress.ensembling.labelled_rows import at_labels
from tests.ensembling.made import members


def nll(combiner, logits, labels, weights):
    found = combiner.combine(logits.double(), torch.tensor(weights, dtype=torch.float64))
    return -float(at_labels(found, labels).mean())


def slsqp(combiner, logits, labels):
    start = numpy.full(len(logits), 1 / len(logits))
    simplex = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    return minimize(
        lambda weights: nll(combiner, logits, labels, weights.clip(1e-12)),
        start,
        bounds=[(0, 1)] * len(logits),
        constraints=simplex,
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )


@pytest.mark.parametrize("combiner", [MeanProbabilities(), MeanLogits()], ids=lambda combiner: combiner.name)
@pytest.mark.parametrize("seed", range(3))
def test_the_weights_are_those_of_another_solver(combiner, seed):
    logits, labels = members(seed=seed, sharpness=(2.0, 1.0, 1.5))
    found = fit_weights(logits, labels, combiner, tolerance=1e-9)
    expected = slsqp(combiner, logits, labels)
    assert found.nll <= expected.fun + 1e-7
    numpy.testing.assert_allclose(found.weights, expected.x, atol=2e-3)  # flat near the best
    assert sum(found.weights) == pytest.approx(1.0) and min(found.weights) >= 0
    assert found.nll == pytest.approx(nll(combiner, logits, labels, found.weights))
    assert found.nll_equal == pytest.approx(nll(combiner, logits, labels, [1 / 3] * 3))


def test_a_member_that_says_nothing_is_left_out():
    logits, labels = members(skill=(2.0, 1.0, 0.0), sharpness=(1.0, 1.0, 3.0))
    found = fit_weights(logits, labels)
    assert found.weights == (1.0, 0.0, 0.0) and found.gap <= 2e-6
    assert found.nll <= min(found.nll_equal, *found.nll_members)


def test_the_gap_bounds_how_far_from_the_best_the_weights_are():
    logits, labels = members()
    best = fit_weights(logits, labels, tolerance=1e-10).nll
    for tolerance in (1e-1, 1e-2, 1e-3, 1e-4):
        found = fit_weights(logits, labels, tolerance=tolerance)
        assert found.nll - found.gap <= best + 1e-10 <= found.nll + 2e-10 and found.gap <= 2 * tolerance


def test_no_step_of_expectation_and_maximisation_makes_it_worse(caplog):
    logits, labels = members(sharpness=(3.0, 1.0, 0.5))
    likelihoods = at_labels(logits.double().log_softmax(-1), labels)
    losses = []
    for steps in range(1, 12):
        weights, _ = mixture_weights(likelihoods, tolerance=0.0, max_iterations=steps)
        losses.append(-float((weights.log().unsqueeze(1) + likelihoods).logsumexp(0).mean()))
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1] + 1e-3
    assert "11 iterations leave the weights at most" in caplog.text


def test_rows_that_are_next_to_impossible_for_all_members_count_like_others():
    weights, _ = mixture_weights(torch.tensor([[-5000.0, -1.0], [-5001.0, -2.0]]), tolerance=1e-9)
    torch.testing.assert_close(weights, torch.tensor([1.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-6)


def test_members_that_are_each_right_where_the_other_is_impossible_share_by_the_rows():
    weights, gap = mixture_weights(torch.tensor([[0.0, 0.0, -torch.inf], [-torch.inf, -torch.inf, 0.0]]))
    torch.testing.assert_close(weights, torch.tensor([2.0, 1.0], dtype=torch.float64) / 3)
    assert gap <= 1e-6


@pytest.mark.parametrize(
    ("likelihoods", "sentence"),
    [
        (torch.zeros(3), r"shape \(3,\) given; expected are \(members, rows\)"),
        (torch.zeros(2, 0), r"shape \(2, 0\) given"),
        (torch.tensor([[0.0, 0.0], [torch.nan, 0.0]]), "member 1 has a log-likelihood that is NaN"),
        (torch.tensor([[0.0, -torch.inf], [0.0, -torch.inf]]), "row 1 is impossible for all members"),
    ],
)
def test_likelihoods_that_cannot_be_used_are_refused(likelihoods, sentence):
    with pytest.raises(CompressionError, match=sentence):
        mixture_weights(likelihoods)


@pytest.mark.parametrize("combiner", [ProductOfExperts(), Maximum(), HardVote()], ids=lambda combiner: combiner.name)
def test_of_other_combiners_they_are_near_the_best_of_a_grid_and_no_worse_than_equal_ones_or_one_alone(combiner):
    logits, labels = members(num_rows=100)
    found = fit_weights(logits, labels, combiner)
    grid = [(a, b, 20 - a - b) for a, b in itertools.product(range(21), repeat=2) if a + b <= 20]
    best = min(nll(combiner, logits, labels, [part / 20 for part in parts]) for parts in grid)
    assert found.nll <= best + 2e-3 and found.gap is None
    assert found.nll <= found.nll_equal + 1e-6
    assert all(found.nll <= nll(combiner, logits, labels, row) + 1e-6 for row in torch.eye(3).tolist())


def test_a_combiner_that_moves_in_jumps_is_refused():
    with pytest.raises(CompressionError, match="median moves in jumps .* fit them for mean_probabilities"):
        fit_weights(*members(), Median())


def test_rows_that_cannot_be_used_are_refused():
    logits, labels = members()
    logits[2, 5, 0] = torch.nan
    with pytest.raises(CompressionError, match="member 2 has NaN"):
        fit_weights(logits, labels)
