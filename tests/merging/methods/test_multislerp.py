import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.multislerp import MultiSlerp
from hf_compress.merging.methods.slerp import Slerp
from tests.merging.methods.applied import merged, random

# factors in double, a few fp32 products and sums of numbers around 1
CLOSE = {"rtol": 3e-6, "atol": 3e-6}


def slow(vectors, weights, logarithms):
    """On the vectors themselves, in double."""
    vectors = [vector.flatten().double() for vector in vectors]
    weights = [weight / sum(weights) for weight in weights]
    units = [vector / vector.norm() for vector in vectors]
    mean = sum(weight * unit for weight, unit in zip(weights, units, strict=True))
    mean = mean / mean.norm()
    tangent = torch.zeros_like(mean)
    for weight, unit in zip(weights, units, strict=True):
        cosine = unit @ mean
        angle = torch.acos(cosine)
        stretch = angle / angle.sin() if logarithms else 1.0
        tangent += weight * stretch * (unit - cosine * mean)
    size = tangent.norm()
    moved = size.cos() * mean + (size.sin() / size if size > 0 else 1.0) * tangent
    return moved * sum(weight * vector.norm() for weight, vector in zip(weights, vectors, strict=True))


def test_three_axes_meet_in_the_middle_at_their_mean_length():
    result = merged(MultiSlerp(), [1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0])
    torch.testing.assert_close(result, torch.full((3,), 2 / math.sqrt(3)), **CLOSE)


def test_two_members_of_one_length_are_slerped():
    first, second = random(9, 10, seed=1), random(9, 10, seed=2)
    second *= first.norm() / second.norm()
    result = merged(MultiSlerp(), first, second, weights=(0.8, 0.2))
    torch.testing.assert_close(result, merged(Slerp(t=0.2), first, second), **CLOSE)


@pytest.mark.parametrize("compat", ["paper", "mergekit"])
@pytest.mark.parametrize("chunk", [2**18, 13])
def test_it_equals_the_steps_on_the_vectors_themselves(monkeypatch, compat, chunk):
    monkeypatch.setattr("hf_compress.merging.operands.CHUNK", chunk)
    base = random(9, 10, seed=9)
    vectors = [random(9, 10, seed=seed) + 0.3 for seed in range(3)]
    expected = slow(vectors, (0.5, 0.3, 0.9), logarithms=compat == "paper")
    result = merged(MultiSlerp(compat=compat), *vectors, weights=(0.5, 0.3, 0.9))
    torch.testing.assert_close(result.flatten().double(), expected, **CLOSE)
    members = [base + vector for vector in vectors]
    result = merged(MultiSlerp(compat=compat), *members, base=base, weights=(0.5, 0.3, 0.9)) - base
    torch.testing.assert_close(result.flatten().double(), expected, **CLOSE)


def test_mergekits_direction_is_the_mean_direction():
    vectors, weights = [random(30, seed=seed) for seed in range(3)], (0.1, 0.2, 0.7)
    result = merged(MultiSlerp(compat="mergekit"), *vectors, weights=weights)
    mean = sum(weight * vector / vector.norm() for weight, vector in zip(weights, vectors, strict=True))
    torch.testing.assert_close(result / result.norm(), mean / mean.norm(), **CLOSE)
    other = merged(MultiSlerp(), *vectors, weights=weights)
    assert (other / other.norm() - mean / mean.norm()).norm() > 0.01


def test_unnormalized_weights_stretch_the_length():
    vectors = [random(30, seed=seed) for seed in range(2)]
    once = merged(MultiSlerp(normalize=False), *vectors, weights=(0.5, 0.5))
    torch.testing.assert_close(once, merged(MultiSlerp(), *vectors, weights=(3, 3)), **CLOSE)
    alone = merged(MultiSlerp(normalize=False), vectors[0], weights=(0.7,))
    torch.testing.assert_close(alone, 0.7 * vectors[0], **CLOSE)
    assert torch.equal(merged(MultiSlerp(normalize=False, compat="mergekit"), vectors[0], weights=(0.7,)), vectors[0])


@pytest.mark.parametrize("compat", ["paper", "mergekit"])
def test_members_that_all_equal_the_base_leave_it(compat):
    base = random(4, 5)
    assert torch.equal(merged(MultiSlerp(compat=compat), base, base, base, base=base), base)


def test_where_directions_cancel_the_weighted_sum_is_taken():
    vector = random(20)
    result = merged(MultiSlerp(), vector, -3 * vector)
    torch.testing.assert_close(result, -vector, **CLOSE)


def test_a_zero_member_counts_only_in_the_length():
    first, second = random(20, seed=1), random(20, seed=2)
    result = merged(MultiSlerp(), torch.zeros(20), first, second)
    torch.testing.assert_close(result, merged(MultiSlerp(), first, second) * 2 / 3, **CLOSE)


def test_weights_that_sum_to_zero_are_refused():
    with pytest.raises(CompressionError, match=r"layer\.weight: the weights \[1, -1\] sum to 0, and multislerp"):
        merged(MultiSlerp(), [1.0], [2.0], weights=(1, -1))
