import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.mathematics.consensus import disjoint_mean, task_vector, weighted_sum
from tests.merging.merged import operands_of


def rows():
    #                    agree   outvoted  cancel  untouched
    return [torch.tensor([2.0, 3.0, 1.0, 0.0]), torch.tensor([4.0, -1.0, -1.0, 0.0])]


def test_the_disjoint_mean_averages_those_with_the_elected_sign():
    assert disjoint_mean(rows(), (1.0, 1.0), True, "paper").tolist() == [3, 3, 0, 0]
    assert disjoint_mean(rows(), (1.0, 1.0), False, "paper").tolist() == [6, 3, 0, 0]


def test_votes_that_cancel_elect_plus_in_the_libraries():
    assert disjoint_mean(rows(), (1.0, 1.0), True, "mergekit").tolist() == [3, 3, 1, 0]
    assert disjoint_mean(rows(), (1.0, 1.0), True, "peft").tolist() == [3, 3, 1, 0]


def test_weights_vote_and_average_but_in_peft_they_only_scale():
    weights = (0.25, 0.75)  # votes: 3.5, 0, -0.5, 0
    assert disjoint_mean(rows(), weights, True, "paper").tolist() == [3.5, 0, -1, 0]
    assert disjoint_mean(rows(), weights, True, "mergekit").tolist() == [3.5, 3, -1, 0]
    assert disjoint_mean(rows(), weights, True, "peft").tolist() == [1.75, 0.75, 0.25, 0]


def test_a_negative_weight_counts_by_its_size_except_in_mergekit():
    weights = (1.0, -0.5)  # votes: 2 - 2, 3 + 0.5, 1 + 0.5
    torch.testing.assert_close(disjoint_mean(rows(), weights, True, "paper"), torch.tensor([0.0, 3.5 / 1.5, 1.0, 0.0]))
    torch.testing.assert_close(disjoint_mean(rows(), weights, True, "mergekit"), torch.tensor([2.0, 7.0, 3.0, 0.0]))


def test_the_weighted_sum_divides_on_demand():
    assert weighted_sum(rows(), (0.5, 1.5), False, "paper").tolist() == [7, 0, -1, 0]
    assert weighted_sum(rows(), (0.5, 1.5), True, "paper").tolist() == [3.5, 0, -0.5, 0]
    assert weighted_sum(rows(), (1.0, -1.0), True, "mergekit").tolist() == [-2, 4, 2, 0]


def test_mergekit_subtracts_in_the_stored_type():
    member, base = torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([-256.0], dtype=torch.bfloat16)
    assert task_vector(operands_of([member], base), 0).item() == 257
    assert task_vector(operands_of([member], base), 0, "mergekit").item() == 256


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_by_name(value):
    fine, broken = torch.ones(4), torch.tensor([1.0, value, 1.0, -value])
    with pytest.raises(CompressionError, match=r"layer.weight: bob holds NaN or infinite"):
        task_vector(operands_of([fine, broken], fine), 1)
    with pytest.raises(CompressionError, match=r"layer.weight: the base holds NaN or infinite"):
        task_vector(operands_of([fine], broken), 0)


def test_finite_numbers_whose_sum_overflows_are_fine():
    huge = torch.full((4,), 3e38)
    assert torch.equal(task_vector(operands_of([huge], torch.zeros(4)), 0), huge)
