"""Temperatures against a grid."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.fitting.temperature import fit_temperatures
from hf_compress.ensembling.labelled_rows import mean_nll
from tests.ensembling.made import members


def test_they_are_the_best_of_a_fine_grid():
    logits, labels = members(num_rows=500, sharpness=(5.0, 1.0, 0.2))
    found = fit_temperatures(logits, labels)
    for member, own in enumerate(logits.double()):
        grid = torch.linspace(-3, 3, 1201, dtype=torch.float64).exp()
        losses = torch.stack([mean_nll((own / temperature).log_softmax(-1), labels) for temperature in grid])
        assert found.nll_after[member] <= losses.amin() + 1e-12
        assert found.temperatures[member] == pytest.approx(float(grid[losses.argmin()]), rel=0.01)
        assert found.nll_before[member] == pytest.approx(float(mean_nll(own.log_softmax(-1), labels)))


def test_logits_times_five_have_a_temperature_five_times_as_high():
    logits, labels = members()
    first = fit_temperatures(logits, labels)
    second = fit_temperatures(5 * logits, labels)
    assert second.temperatures == pytest.approx([5 * one for one in first.temperatures], rel=1e-5)
    assert second.nll_after == pytest.approx(first.nll_after)


def test_a_number_added_to_all_logits_of_a_row_changes_nothing():
    logits, labels = members()
    moved = logits.double() + 1e4 * torch.arange(200).reshape(1, 200, 1)
    expected = fit_temperatures(logits, labels).temperatures
    assert fit_temperatures(moved, labels).temperatures == pytest.approx(expected, rel=1e-4)


def test_a_member_that_is_always_right_or_says_nothing_gets_the_limit_and_a_warning(caplog):
    _, labels = members()
    right = torch.nn.functional.one_hot(labels, 4).float()
    found = fit_temperatures(torch.stack([right, -right]), labels, lowest=0.05, highest=20)
    assert found.temperatures == (0.05, 20) and found.at_limit == (0, 1)
    assert "member 0 has the temperature 0.05, which is the limit" in caplog.text
    assert "member 1 has the temperature 20, which is the limit" in caplog.text


def test_a_member_whose_logits_are_all_the_same_keeps_them():
    logits, labels = members()
    found = fit_temperatures(torch.stack([logits[0], torch.full_like(logits[0], 0.3)]), labels)
    assert found.temperatures[1] == 1 and found.at_limit == () and found.nll_after[1] == found.nll_before[1]


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 1.0), (2.0, 1.0), (1.0, float("inf"))])
def test_limits_that_hold_nothing_are_refused(lowest, highest):
    with pytest.raises(CompressionError, match="temperatures lie above 0"):
        fit_temperatures(*members(), lowest=lowest, highest=highest)


def test_rows_that_cannot_be_used_are_refused():
    logits, labels = members()
    with pytest.raises(CompressionError, match=r"labels of shape \(3,\) for 200 rows"):
        fit_temperatures(logits, labels[:3])
