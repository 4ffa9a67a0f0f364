import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.model_stock import ModelStock
from tests.merging.methods.applied import merged, random

# a ratio in double, a few fp32 products and sums of numbers around 1
CLOSE = {"rtol": 3e-6, "atol": 3e-6}


def slow(base, members, average):
    """Jang et al. 2024 on the whole tensors; `average` makes one cosine of the pairs' cosines."""
    deltas = [(member.double() - base.double()).flatten() for member in members]
    count = len(deltas)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    cosine = average([float(deltas[i] @ deltas[j] / (deltas[i].norm() * deltas[j].norm())) for i, j in pairs])
    t = count * cosine / ((count - 1) * cosine + 1)
    return (t * sum(member.double() for member in members) / count + (1 - t) * base.double()), t


def mean_angle(cosines):
    return math.cos(sum(math.acos(cosine) for cosine in cosines) / len(cosines))


def mean_cosine(cosines):
    return sum(cosines) / len(cosines)


def test_sixty_degrees_between_two_members_give_two_thirds():
    # cos = 0.5, t = 2 * 0.5 / 1.5 = 2/3; the mean of the task vectors is (1.5, sqrt(3)/2)
    base = torch.tensor([1.0, 1.0])
    result = merged(ModelStock(), [3.0, 1.0], [2.0, 1.0 + math.sqrt(3)], base=base)
    torch.testing.assert_close(result, base + 2 / 3 * torch.tensor([1.5, math.sqrt(3) / 2]), **CLOSE)


@pytest.mark.parametrize("chunk", [2**18, 11])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_it_equals_the_formula_on_the_tensors_themselves(monkeypatch, chunk, count):
    monkeypatch.setattr("hf_compress.merging.operands.CHUNK", chunk)
    base = random(8, 9, seed=50)
    members = [base + random(8, 9, seed=seed) + 0.5 for seed in range(count)]
    for compat, average in (("paper", mean_angle), ("mergekit", mean_cosine)):
        expected, _ = slow(base, members, average)
        result = merged(ModelStock(compat=compat), *members, base=base)
        torch.testing.assert_close(result.double(), expected, **CLOSE)


def test_members_in_one_direction_give_their_mean():
    base, delta = random(30, seed=1), random(30, seed=2)
    torch.testing.assert_close(merged(ModelStock(), base + delta, base + 3 * delta, base=base), base + 2 * delta, **CLOSE)


def test_filter_wise_every_row_has_its_own_ratio():
    base = random(4, 12, seed=50)
    members = [base + random(4, 12, seed=seed) + 0.5 for seed in range(3)]
    result = merged(ModelStock(filter_wise=True), *members, base=base)
    for row in range(4):
        expected = merged(ModelStock(), *(member[row] for member in members), base=base[row])
        torch.testing.assert_close(result[row], expected, **CLOSE)


def test_a_convolutions_filters_are_cut_along_the_first_dimension_by_mergekit_along_the_last():
    base = random(3, 2, 4, 5, seed=50)
    members = [base + random(3, 2, 4, 5, seed=seed) + 0.5 for seed in range(2)]
    paper = merged(ModelStock(filter_wise=True), *members, base=base)
    mergekit = merged(ModelStock(filter_wise=True, compat="mergekit"), *members, base=base)
    one = merged(ModelStock(), *(member[2] for member in members), base=base[2])
    torch.testing.assert_close(paper[2], one, **CLOSE)
    one = merged(ModelStock(compat="mergekit"), *(member[2, 1, 3] for member in members), base=base[2, 1, 3])
    torch.testing.assert_close(mergekit[2, 1, 3], one, **CLOSE)


def test_opposed_members_leave_the_base_and_mergekit_goes_beyond_it():
    # cos = -0.5: t = -1 / 0.5 = -2 unclamped; the mean of the task vectors is (0.25, sqrt(3)/4)
    base = torch.tensor([1.0, 1.0])
    members = ([2.0, 1.0], [0.5, 1.0 + math.sqrt(3) / 2])
    torch.testing.assert_close(merged(ModelStock(), *members, base=base), base, **CLOSE)
    beyond = base - 2 * torch.tensor([0.25, math.sqrt(3) / 4])
    torch.testing.assert_close(merged(ModelStock(compat="mergekit"), *members, base=base), beyond, **CLOSE)


def test_mergekit_keeps_the_base_only_where_the_ratio_is_infinite():
    assert merged(ModelStock(compat="mergekit"), [2.0, 1.0], [0.0, 1.0], base=[1.0, 1.0]).tolist() == [1.0, 1.0]


def test_mergekit_takes_short_task_vectors_for_more_orthogonal():
    # |d| = 5e-4 twice: 2.5e-7 / 1e-6 makes a cosine of 1 a quarter, t = 0.5 / 1.25 = 0.4
    base, member = torch.tensor([0.0, 0.0]), torch.tensor([5e-4, 0.0])
    torch.testing.assert_close(merged(ModelStock(), member, member, base=base), member, rtol=1e-6, atol=0)
    short = merged(ModelStock(compat="mergekit"), member, member, base=base)
    torch.testing.assert_close(short, 0.4 * member, rtol=1e-6, atol=0)


@pytest.mark.parametrize("compat", ["paper", "mergekit"])
def test_members_that_equal_the_base_leave_it(compat):
    base = random(4, 5)
    assert torch.equal(merged(ModelStock(compat=compat, filter_wise=True), base, base, base=base), base)
    assert torch.equal(merged(ModelStock(compat=compat), base, random(4, 5, seed=1), base=base), base)


def test_weights_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: model_stock has no weights, .* leave the weights out"):
        merged(ModelStock(), [1.0], [2.0], base=[0.0], weights=(0.3, 0.7))
