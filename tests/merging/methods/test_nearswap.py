import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.nearswap import NearSwap
from tests.merging.methods.applied import merged, random


def test_near_weights_are_swapped_and_far_ones_move_by_t():
    result = merged(NearSwap(t=0.5), [1.25, 3.0, -5.0, 0.0], base=[1.0, 1.0, 1.0, 0.5])
    assert result.tolist() == [1.25, 1.5, 0.5, 0.0]


def test_it_is_the_authors_interpolation():
    base, member, t = random(500, seed=1), random(500, seed=2), 0.3
    weight = (t / (base - member).abs().double()).clamp(0, 1)
    expected = (1 - weight) * base + weight * member
    # fp32 roundings of numbers around 1
    torch.testing.assert_close(merged(NearSwap(t=t), member, base=base).double(), expected, rtol=1e-6, atol=1e-6)


def test_no_weight_moves_by_more_than_t_and_the_ends_are_exact():
    base, member = random(500, seed=1), random(500, seed=2)
    assert (merged(NearSwap(t=0.01), member, base=base) - base).abs().max() <= 0.01 + 1e-6
    assert torch.equal(merged(NearSwap(t=0.0), member, base=base), base)
    assert torch.equal(merged(NearSwap(t=100.0), member, base=base), member)


def test_mergekit_scales_differences_below_a_millionth():
    base, member = [0.0, 0.0, 0.0], [1e-8, 5e-7, 1e-3]
    mergekit = merged(NearSwap(t=1e-7, compat="mergekit"), member, base=base)
    torch.testing.assert_close(mergekit, torch.tensor([1e-9, 5e-8, 1e-7]), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        merged(NearSwap(t=1e-7), member, base=base), torch.tensor([1e-8, 1e-7, 1e-7]), rtol=1e-6, atol=0
    )
    base, member = random(500, seed=1, scale=1e-6), random(500, seed=2, scale=1e-6)
    same = (merged(NearSwap(t=1e-6, compat=compat), member, base=base) for compat in ("paper", "mergekit"))
    assert torch.equal(*same)


def test_a_negative_t_is_refused():
    with pytest.raises(CompressionError, match=r"t=-1 is negative"):
        NearSwap(t=-1)
