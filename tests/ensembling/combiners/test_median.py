"""p_c proportional to the weighted median of p_mc."""

import numpy
import pytest
import torch

from hf_compress.ensembling.combiners.median import Median


def reference(each, shares):
    medians = []
    for values in zip(*each, strict=True):
        so_far, middle = 0.0, []
        for value, share in sorted(zip(values, shares, strict=True)):
            before, so_far = so_far, so_far + share
            if before < 0.5 + 1e-6 and so_far > 0.5 - 1e-6:
                middle.append(value)
        medians.append((middle[0] + middle[-1]) / 2)
    return [median / sum(medians) for median in medians]


def test_of_three_the_middle_one_counts_in_each_class():
    members = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.01, 0.01, 0.98]]).log()
    torch.testing.assert_close(Median().combine(members).exp(), torch.tensor([0.6, 0.1, 0.3]))


def test_of_two_it_is_the_mean():
    members = torch.tensor([[0.7, 0.3], [0.4, 0.6]]).log()
    torch.testing.assert_close(Median().combine(members).exp(), torch.tensor([0.55, 0.45]))


@pytest.mark.parametrize("num_members", range(1, 13))
def test_with_equal_weights_it_is_that_of_numpy_for_any_number_of_members(num_members):
    members = torch.randn(num_members, 9, 5, generator=torch.Generator().manual_seed(num_members))
    medians = torch.from_numpy(numpy.median(members.double().softmax(-1).numpy(), axis=0))
    torch.testing.assert_close(Median().combine(members.double()).exp(), medians / medians.sum(-1, keepdim=True))


def test_a_member_with_more_than_half_of_the_weight_is_the_median():
    members = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    found = Median().combine(members, torch.tensor([1.0, 2.5, 1.0]))
    torch.testing.assert_close(found, members[1].log_softmax(-1))


def test_whole_weights_count_as_that_many_members():
    members = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    found = Median().combine(members, torch.tensor([1.0, 2.0, 3.0]))
    torch.testing.assert_close(found, Median().combine(members[[0, 1, 1, 2, 2, 2]]))
