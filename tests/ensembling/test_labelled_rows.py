"""Rows that nothing can be learned from are refused, with what is wrong and where."""

import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.ensembling.labelled_rows import at_labels, check_labels, check_members, checked, mean_nll
from tests.ensembling.made import members


@pytest.mark.parametrize(
    ("logits", "sentence"),
    [
        (torch.zeros(3, 4), r"shape \(3, 4\) and type torch.float32; expected are \(members, rows, classes\)"),
        (torch.zeros(2, 3, 4, dtype=torch.long), "type torch.int64"),
        (torch.zeros(0, 3, 4), "0 members and 3 rows"),
        (torch.zeros(2, 0, 4), "2 members and 0 rows"),
        (torch.zeros(2, 3, 1), "a single class"),
    ],
)
def test_what_are_no_logits_of_members_is_refused(logits, sentence):
    with pytest.raises(CompressionError, match=sentence):
        check_members(logits)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_member_and_the_row_of_a_number_that_is_none_are_named(value):
    logits, _ = members()
    logits[1, 7, 2] = logits[1, 9, 0] = value
    with pytest.raises(
        CompressionError, match="member 1 has NaN or infinite logits in 2 of 200 rows, the first of them row 7"
    ):
        check_members(logits)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (torch.tensor([0, 1]), r"labels of shape \(2,\) for 3 rows"),
        (torch.tensor([0.0, 1.0, 2.0]), "labels are torch.float32; classes are numbered"),
        (torch.tensor([True, False, True]), "labels are torch.bool"),
        (torch.tensor([0, 4, 1]), "row 1 has label 4, outside of 0 to 3"),
        (torch.tensor([0, 1, -100]), "row 2 has label -100, outside of 0 to 3; leave rows without a label out"),
    ],
)
def test_labels_that_are_not_one_class_for_each_row_are_refused(labels, sentence):
    with pytest.raises(CompressionError, match=sentence):
        check_labels(labels, 3, 4)


def test_the_log_loss_is_read_at_the_labels():
    log_probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).log()
    labels = torch.tensor([1, 2])
    torch.testing.assert_close(at_labels(log_probabilities, labels).exp(), torch.tensor([0.25, 0.8]))
    expected = -torch.tensor([0.25, 0.8]).log().mean()
    torch.testing.assert_close(mean_nll(log_probabilities, labels), expected)
    torch.testing.assert_close(mean_nll(log_probabilities.expand(3, 2, 3), labels), expected.expand(3))


def test_what_is_good_comes_back_without_gradients():
    logits, labels = members()
    found, classes = checked(logits.requires_grad_(True), labels.int())
    assert not found.requires_grad and classes.dtype is torch.long and torch.equal(found, logits)
