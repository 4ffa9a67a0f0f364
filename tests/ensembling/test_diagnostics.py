"""Log-loss, calibration and how alike errors are, against slow loops and numbers by hand."""

import math

import numpy
import pytest
import torch
from sklearn.metrics import log_loss

from hf_compress._errors import CompressionError
from hf_compress.ensembling.diagnostics import brier, disagreement, ece, error_correlation, nll
from tests.ensembling.made import members


def slow_ece(log_probabilities, labels, num_bins, adaptive):
    rows = [
        (max(row), row.index(max(row)) == label)
        for row, label in zip(log_probabilities.exp().tolist(), labels, strict=True)
    ]
    if adaptive:
        rows.sort(key=lambda row: row[0])
        bins = [[] for _ in range(num_bins)]
        for place, row in enumerate(rows):
            bins[place * num_bins // len(rows)].append(row)
    else:
        bins = [[row for row in rows if b / num_bins < row[0] <= (b + 1) / num_bins] for b in range(num_bins)]
    total = 0.0
    for inside in bins:
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            confidence = sum(value for value, _ in inside) / len(inside)
            total += len(inside) / len(rows) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_the_calibration_error_is_that_of_a_slow_loop(num_bins, adaptive):
    logits, labels = members(sharpness=(3.0, 1.0, 0.2), num_rows=101)
    for own in logits.double().log_softmax(-1):
        assert ece(own, labels, num_bins, adaptive) == pytest.approx(slow_ece(own, labels.tolist(), num_bins, adaptive))


def test_the_calibration_error_by_hand():
    # Three rows at 0.8, of which two are right; one at 0.6, right: 3/4 |2/3 - 0.8| + 1/4 |1 - 0.6|.
    rows = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.4, 0.6]]).log()
    labels = torch.tensor([0, 0, 1, 1])
    assert ece(rows, labels) == pytest.approx(0.75 * (0.8 - 2 / 3) + 0.25 * 0.4)
    assert ece(rows, labels, num_bins=1) == pytest.approx(0.0, abs=1e-7)  # 3 of 4 are right, and 0.75 is the mean


def test_the_edge_of_a_bin_belongs_to_the_bin_below():
    rows = torch.tensor([[0.5, 0.5, 0.0], [0.4, 0.35, 0.25]], dtype=torch.float64).log()
    # Both in (0, 0.5]: |1/2 - 0.45|. Apart it would be 1/2 |1 - 0.5| + 1/2 |0 - 0.4|.
    assert ece(rows, torch.tensor([0, 1]), num_bins=2) == pytest.approx(0.05)


def test_the_log_loss_is_that_of_scikit_learn():
    logits, labels = members()
    for own in logits.double().log_softmax(-1):
        assert nll(own, labels) == pytest.approx(log_loss(labels.numpy(), own.exp().numpy()))


def test_the_brier_score_is_the_squared_distance_from_the_label():
    rows = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]]).log()
    assert brier(rows, torch.tensor([0, 1])) == pytest.approx((0.09 + 0.04 + 0.01) / 2)
    assert brier(rows, torch.tensor([0, 2])) == pytest.approx((0.14 + 2) / 2)


def test_members_disagree_where_their_classes_differ():
    logits = torch.eye(3)[torch.tensor([[0, 1, 2, 0], [0, 1, 0, 0], [1, 2, 0, 0]])]
    assert disagreement(logits).tolist() == [[0.0, 0.25, 0.75], [0.25, 0.0, 0.5], [0.75, 0.5, 0.0]]


def test_the_correlation_of_errors_is_that_of_numpy():
    logits, labels = members()
    wrong = (logits.argmax(-1) != labels).numpy()
    numpy.testing.assert_allclose(error_correlation(logits, labels).numpy(), numpy.corrcoef(wrong), atol=1e-12)


def test_a_member_whose_errors_do_not_vary_has_no_correlation():
    logits, labels = members()
    logits[1] = 9.0 * torch.nn.functional.one_hot(labels, 4)
    found = error_correlation(logits, labels)
    assert found[1].isnan().all() and found[:, 1].isnan().all() and found[0, 2].isfinite()
    assert float(found[0, 0]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("log_probabilities", "sentence"),
    [
        (torch.zeros(0, 3), "with at least one of each"),
        (torch.zeros(2, 2, 3), "expected are"),
        (torch.tensor([[0.0, -math.inf], [math.nan, 0.0]]), "row 1 has NaN"),
        (torch.tensor([[0.0, -math.inf], [2.0, 3.0]]), "row 1 sum to 27.5, not to 1; give log-probabilities, not logits"),
    ],
)
@pytest.mark.parametrize("measure", [nll, brier, ece])
def test_what_is_no_distribution_is_refused(measure, log_probabilities, sentence):
    with pytest.raises(CompressionError, match=sentence):
        measure(log_probabilities, torch.tensor([0, 1]))


def test_labels_outside_and_no_bins_are_refused():
    rows = torch.tensor([[0.5, 0.5]]).log()
    with pytest.raises(CompressionError, match="row 0 has label 2"):
        nll(rows, torch.tensor([2]))
    with pytest.raises(CompressionError, match="num_bins=0"):
        ece(rows, torch.tensor([1]), num_bins=0)
    with pytest.raises(CompressionError, match=r"labels of shape \(1,\) for 200 rows"):
        error_correlation(members()[0], torch.tensor([1]))
