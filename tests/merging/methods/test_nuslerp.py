import math

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.nuslerp import NuSlerp
from hf_compress.merging.methods.slerp import Slerp
from tests.merging.methods.applied import merged, random

# factors in double, two fp32 products and a sum of numbers around 1
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


def slow(first, second, t):
    """One pair of vectors, in lists."""
    a, b = first.double().tolist(), second.double().tolist()
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    angle = math.acos(dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)))
    left, right = math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
    return torch.tensor([left * x + right * y for x, y in zip(a, b, strict=True)], dtype=torch.float32)


def test_the_weights_say_how_far_along_the_arc():
    # t = 3 / (1 + 3): 67.5 of 90 degrees
    result = merged(NuSlerp(), [1.0, 0.0], [0.0, 1.0], weights=(1, 3))
    torch.testing.assert_close(result, torch.tensor([math.cos(1.5 * math.pi / 4), math.sin(1.5 * math.pi / 4)]), **CLOSE)


def test_flat_without_a_base_it_is_slerp():
    first, second = random(7, 8, seed=1), random(7, 8, seed=2)
    torch.testing.assert_close(
        merged(NuSlerp(), first, second, weights=(0.6, 0.4)), merged(Slerp(t=0.4), first, second), **CLOSE
    )


def test_with_a_base_the_task_vectors_are_interpolated():
    base, first, second = random(7, 8, seed=3, scale=5), random(7, 8, seed=1), random(7, 8, seed=2)
    result = merged(NuSlerp(), base + first, base + second, base=base, weights=(0.6, 0.4))
    torch.testing.assert_close(result - base, merged(Slerp(t=0.4), first, second), rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("chunk", [2**18, 5, 12])
def test_rows_and_columns_have_their_own_angles(monkeypatch, chunk):
    monkeypatch.setattr("hf_compress.merging.operands.CHUNK", chunk)
    first, second = random(4, 6, seed=1), random(4, 6, seed=2)
    rows = merged(NuSlerp(along="rows"), first, second, weights=(1, 2))
    columns = merged(NuSlerp(along="columns"), first, second, weights=(1, 2))
    for index in range(4):
        torch.testing.assert_close(rows[index], slow(first[index], second[index], 2 / 3), **CLOSE)
    for index in range(6):
        torch.testing.assert_close(columns[:, index], slow(first[:, index], second[:, index], 2 / 3), **CLOSE)


def test_lines_of_a_convolution_run_along_its_last_or_first_dimension():
    first, second = random(3, 2, 4, 5, seed=1), random(3, 2, 4, 5, seed=2)
    rows = merged(NuSlerp(along="rows"), first, second)
    columns = merged(NuSlerp(along="columns"), first, second)
    torch.testing.assert_close(rows[2, 1, 3], slow(first[2, 1, 3], second[2, 1, 3], 0.5), **CLOSE)
    torch.testing.assert_close(columns[:, 1, 3, 2], slow(first[:, 1, 3, 2], second[:, 1, 3, 2], 0.5), **CLOSE)


def test_without_an_angle_the_straight_line_is_taken():
    first, second = torch.tensor([[1.0, 2.0], [1.0, 0.0]]), torch.tensor([[-2.0, -4.0], [0.0, 0.0]])
    result = merged(NuSlerp(along="rows"), first, second, weights=(3, 1))
    torch.testing.assert_close(result, 0.75 * first + 0.25 * second, **CLOSE)


def test_mergekit_takes_a_zero_vector_for_orthogonal():
    result = merged(NuSlerp(compat="mergekit"), [0.0, 0.0], [1.0, 2.0], weights=(3, 1))
    torch.testing.assert_close(result, math.sin(math.pi / 8) * torch.tensor([1.0, 2.0]), **CLOSE)


def test_mergekit_keeps_the_arc_where_the_ends_are_nearly_opposed():
    angle = math.pi - 1e-3
    ends = ([1.0, 0.0], [math.cos(angle), math.sin(angle)])
    # fp32 stores the ends to 1e-7, which is 1e-4 of the angle that is left
    assert merged(NuSlerp(compat="mergekit"), *ends).norm().item() == pytest.approx(1, abs=1e-3)
    assert merged(NuSlerp(), *ends).norm().item() < 1e-3


def test_weights_that_sum_to_zero_are_refused_unless_mergekits_half_is_asked_for():
    with pytest.raises(CompressionError, match=r"layer\.weight: the weights \[1, -1\] sum to 0, and nuslerp"):
        merged(NuSlerp(), [1.0, 0.0], [0.0, 1.0], weights=(1, -1))
    half = merged(NuSlerp(compat="mergekit"), [1.0, 0.0], [0.0, 1.0], weights=(1, -1))
    torch.testing.assert_close(half, torch.tensor([math.sqrt(0.5)] * 2), **CLOSE)


def test_an_unknown_cut_is_refused():
    with pytest.raises(CompressionError, match=r"along='diagonal' is unknown; use tensor, rows"):
        NuSlerp(along="diagonal")
