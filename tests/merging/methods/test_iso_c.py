import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.iso_c import IsoC
from hf_compress.merging.operands import Operands


def operands(tensors, base, **changes):
    names = tuple(f"m{number}" for number in range(len(tensors)))
    return Operands(name="w", members=names, tensors=tuple(tensors), base=base, **changes)


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slow_reference(summed):
    """mean(S) U V^T without an SVD: the polar factor D (D^T D)^(-1/2), and the trace of (D^T D)^(1/2) as the sum of S."""
    summed = summed.double()
    tall = summed if summed.shape[0] >= summed.shape[1] else summed.T
    squares, vectors = torch.linalg.eigh(tall.T @ tall)
    polar = tall @ (vectors @ torch.diag(squares**-0.5) @ vectors.T)
    result = squares.sqrt().mean() * polar
    return result if tall is summed else result.T


def test_two_axes_get_the_mean_of_their_lengths():
    base = torch.zeros(2, 2)
    first, second = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, -1.0]])
    merged = IsoC().merge(operands([first, second], base), None)
    torch.testing.assert_close(merged, torch.tensor([[2.0, 0.0], [0.0, -2.0]]))


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (9, 9)])
def test_it_equals_the_polar_factor_in_fp64(shape):
    base, first, second = (random(*shape, seed=seed) for seed in range(3))
    merged = IsoC(scale=0.6).merge(operands([first, second], base, values={"weight": (1.0, 0.5)}), None)
    expected = base + 0.6 * slow_reference((first - base) + 0.5 * (second - base)).float()
    # fp32 SVD against fp64: 1e-7 of the largest over the smallest singular value, which is 100 at most here.
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)


def test_all_singular_values_of_the_merged_change_are_equal():
    base, first, second = (random(8, 3, 3, seed=seed) for seed in range(3))
    merged = IsoC().merge(operands([first, second], base), None)
    values = torch.linalg.svdvals((merged - base).flatten(1))
    wanted = torch.linalg.svdvals(((first - base) + (second - base)).flatten(1)).mean()
    torch.testing.assert_close(values, wanted.expand(8), atol=1e-4, rtol=0)


def test_vectors_get_the_mean():
    base, first, second = (random(5, seed=seed) for seed in range(3))
    merged = IsoC(scale=2.0).merge(operands([first, second], base), None)
    torch.testing.assert_close(merged, base + (first - base) + (second - base))


def test_directions_that_no_member_changed_stay_as_they_were():
    base = random(6, 6, seed=0)
    left, right = random(6, 2, seed=1), random(2, 6, seed=2)
    merged = IsoC().merge(operands([base + left @ right, base], base), None)
    values = torch.linalg.svdvals(merged - base)
    torch.testing.assert_close(values[:2], torch.linalg.svdvals(left @ right)[:2].mean().expand(2), atol=1e-4, rtol=0)
    assert values[2:].max() < 1e-5
    assert torch.equal(IsoC().merge(operands([base, base], base), None), base)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1, 1)])
def test_scalars_and_empty_tensors_are_merged_too(shape):
    ones = torch.ones(shape, dtype=torch.bfloat16)
    merged = IsoC().merge(operands([ones, ones], ones), None)
    assert merged.dtype is torch.float32 and torch.equal(merged, torch.ones(shape))


def test_a_missing_base_is_refused():
    with pytest.raises(CompressionError, match="w: iso_c merges task vectors; name the base model"):
        IsoC().merge(operands([torch.ones(2, 2)], None), None)
