"""The line search against a fine grid, a closed form, and what it promises."""

import itertools

import pytest
import torch

from hf_compress import CompressionError, fit_step_size
from tests.ensembling.made import members


def nll(logits, labels):
    return float(torch.nn.functional.cross_entropy(logits.double(), labels))


def test_the_step_is_the_best_of_a_fine_grid():
    (before, own, _), labels = members()
    found = fit_step_size(before, own, labels)
    grid = torch.linspace(0, 4, 4001, dtype=torch.float64)
    losses = [nll(before.double() + eta * own.double(), labels) for eta in grid]
    assert found.eta == pytest.approx(float(grid[int(torch.tensor(losses).argmin())]), abs=1e-3)
    assert found.loss == pytest.approx(min(losses), abs=1e-6)
    assert found.loss_before == pytest.approx(nll(before, labels), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_never_grows_member_by_member(seed):
    logits, labels = members(num_members=4, seed=seed, skill=(1, 0, -1, 2), sharpness=(1, 1, 1, 1))
    total, losses = torch.zeros_like(logits[0]), []
    for own in logits:
        found = fit_step_size(total, own, labels)
        total = total + found.eta * own
        losses += [found.loss_before, found.loss]
        assert nll(total, labels) == pytest.approx(found.loss, abs=1e-6)
    # The sum is fp32 and its loss fp64: rounding between two searches, and never within one.
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(losses))
    assert all(after <= before for before, after in zip(losses[::2], losses[1::2], strict=True))


def test_a_member_that_leads_astray_gets_0_and_a_perfect_one_a_large_step():
    right = torch.eye(3).repeat(4, 1)
    labels = torch.arange(12) % 3
    assert fit_step_size(torch.zeros(12, 3), -right, labels).eta == 0
    assert fit_step_size(torch.zeros(12, 3), right, labels).eta > 30


def test_of_numbers_it_is_the_least_squares_step():
    generator = torch.Generator().manual_seed(0)
    before, own, wanted = torch.randn(3, 50, generator=generator)
    wanted = wanted + own
    found = fit_step_size(before[:, None], own[:, None], wanted)
    by_hand = torch.linalg.lstsq(own[:, None].double(), (wanted - before)[:, None].double()).solution.item()
    assert found.eta == pytest.approx(by_hand, rel=1e-6) and by_hand > 0
    assert found.loss == pytest.approx(float(((wanted - before - by_hand * own) ** 2).mean()), rel=1e-5)
    assert found.loss <= found.loss_before


def test_what_cannot_be_searched_along_is_refused():
    rows, labels = torch.zeros(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(CompressionError, match=r"the sum so far has the shape \(3, 2\), the new member's answers \(2, 2\)"):
        fit_step_size(rows, rows[:2], labels)
    with pytest.raises(CompressionError, match="member 1 has NaN"):
        fit_step_size(rows, rows + float("nan"), labels)
    with pytest.raises(CompressionError, match="labels must be finite numbers"):
        fit_step_size(rows[:, 0], rows[:, 1], labels.float() / 0)
