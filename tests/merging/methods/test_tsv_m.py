import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.tsv_m import TsvM
from hf_compress.merging.operands import Operands


def operands(tensors, base, **changes):
    names = tuple(f"m{number}" for number in range(len(tensors)))
    return Operands(name="w", members=names, tensors=tuple(tensors), base=base, **changes)


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slow_reference(deltas, scale):
    """fp64, eigenvalue decompositions of Gram matrices in place of SVDs, whitening written as a matrix power."""
    rank = min(deltas[0].shape) // len(deltas)
    left, values, right = [], [], []
    for delta in deltas:
        delta = delta.double()
        squares, vectors = torch.linalg.eigh(delta.T @ delta)
        order = squares.argsort(descending=True)[:rank]
        singular = squares[order].sqrt()
        right.append(vectors[:, order])
        left.append(delta @ vectors[:, order] / singular)
        values.append(singular)

    def whiten(matrix):
        squares, vectors = torch.linalg.eigh(matrix.T @ matrix)
        return matrix @ (vectors @ torch.diag(squares**-0.5) @ vectors.T)

    return scale * whiten(torch.cat(left, 1)) @ torch.diag(torch.cat(values)) @ whiten(torch.cat(right, 1)).T


def test_members_on_different_axes_are_both_kept_in_full():
    base = torch.ones(2, 2)
    first, second = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    merged = TsvM().merge(operands([base + first, base + second], base), None)
    torch.testing.assert_close(merged, base + torch.tensor([[3.0, 0.0], [0.0, 2.0]]))


@pytest.mark.parametrize(("shape", "num_members"), [((12, 30), 2), ((30, 12), 3), ((16, 16), 4), ((7, 9), 2)])
def test_it_equals_whitening_by_a_matrix_power_in_fp64(shape, num_members):
    base = random(*shape, seed=0)
    deltas = [random(*shape, seed=1 + number) for number in range(num_members)]
    merged = TsvM(scale=0.7).merge(operands([base + delta for delta in deltas], base), None)
    # The deltas are recovered from fp32 sums, an error of 1e-7, which gaps between singular values near 0.1 multiply by 10.
    expected = base + slow_reference(deltas, 0.7).float()
    torch.testing.assert_close(merged, expected, atol=3e-5, rtol=0)


def test_a_convolution_is_merged_as_the_matrix_of_its_filters():
    base, first, second = (random(8, 3, 2, 2, seed=seed) for seed in range(3))
    merged = TsvM().merge(operands([first, second], base), None)
    flat = TsvM().merge(operands([first.flatten(1), second.flatten(1)], base.flatten(1)), None)
    assert torch.equal(merged, flat.reshape(8, 3, 2, 2))


@pytest.mark.parametrize("shape", [(5,), (1, 6), ()])
def test_vectors_and_matrices_of_too_small_a_rank_get_the_mean(shape):
    base, first, second = (random(*shape, seed=seed) for seed in range(3))
    merged = TsvM(scale=2.0).merge(operands([first, second], base), None)
    torch.testing.assert_close(merged, base + 2 * ((first - base) + (second - base)) / 2)


def test_a_member_equal_to_the_base_does_not_disturb_the_other():
    base = random(10, 14, seed=0)
    delta = random(10, 14, seed=1)
    merged = TsvM().merge(operands([base + delta, base.clone()], base), None)
    u, s, vt = torch.linalg.svd(delta)
    torch.testing.assert_close(merged - base, u[:, :5] @ torch.diag(s[:5]) @ vt[:5], atol=1e-5, rtol=0)


def test_equal_members_give_their_own_low_rank_part_and_weights_scale_it():
    base, delta = random(10, 14, seed=0), random(10, 14, seed=1)
    u, s, vt = torch.linalg.svd(delta)
    part = u[:, :5] @ torch.diag(s[:5]) @ vt[:5]
    twice = operands([base + delta, base + delta], base)
    torch.testing.assert_close(TsvM().merge(twice, None) - base, part, atol=1e-5, rtol=0)
    half = operands([base + delta, base + delta], base, values={"weight": (0.5, 0.5)})
    torch.testing.assert_close(TsvM().merge(half, None) - base, part / 2, atol=1e-5, rtol=0)


def test_members_without_a_change_give_the_base():
    base = random(6, 6, seed=0)
    assert torch.equal(TsvM().merge(operands([base, base], base), None), base)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1, 1)])
def test_scalars_and_empty_tensors_are_merged_too(shape):
    ones = torch.ones(shape, dtype=torch.bfloat16)
    merged = TsvM().merge(operands([ones, ones], ones), None)
    assert merged.dtype is torch.float32 and torch.equal(merged, torch.ones(shape))


def test_a_missing_base_is_refused():
    with pytest.raises(CompressionError, match="w: tsv_m merges task vectors; name the base model"):
        TsvM().merge(operands([torch.ones(2, 2)], None), None)
