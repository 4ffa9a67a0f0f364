"""p_c proportional to max_m w_m p_mc."""

import torch

from hf_compress.ensembling.combiners.maximum import Maximum


def reference(each, shares):
    largest = [max(share * row[c] for share, row in zip(shares, each, strict=True)) for c in range(len(each[0]))]
    return [value / sum(largest) for value in largest]


def test_each_class_is_judged_by_the_member_that_is_surest_of_it():
    members = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]).log()
    torch.testing.assert_close(Maximum().combine(members).exp(), torch.tensor([0.7, 0.5, 0.4]) / 1.6)


def test_a_weight_scales_what_its_member_says():
    members = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]).log()
    found = Maximum().combine(members, torch.tensor([2.0, 1.0])).exp()
    torch.testing.assert_close(found, torch.tensor([1.4, 0.5, 0.4]) / 2.3)
