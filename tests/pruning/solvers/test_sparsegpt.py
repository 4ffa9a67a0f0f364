"""SparseGPT against the optimal brain surgeon, one weight at a time."""

import pytest
import torch

from hf_compress import NM, CompressionError, SparseGPT, Unstructured


def made(outputs=6, inputs=12, rows=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64)
    x = torch.randn(rows, inputs, generator=generator, dtype=torch.float64) @ mixed
    return torch.randn(outputs, inputs, generator=generator, dtype=torch.float64), x


def surgeon(weight, gram, dampening, decide):
    """Left to right: the inverse of the Hessian of what is right of each column is computed anew for each of them."""
    hessian = gram + dampening * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight, keep = weight.clone(), torch.ones_like(weight, dtype=torch.bool)
    inverses = [torch.linalg.inv(hessian[column:, column:]) for column in range(len(gram))]
    losses = torch.stack([inverse[0, 0] for inverse in inverses])
    for column, inverse in enumerate(inverses):
        decide(column, weight, losses, keep)
        for row in range(len(weight)):
            if not keep[row, column]:
                weight[row, column:] -= weight[row, column] / inverse[0, 0] * inverse[0]
                weight[row, column] = 0.0
    return weight, keep


def by_block(block, sparsity):
    def decide(column, weight, losses, keep):
        if column % block:
            return
        scores = weight[:, column : column + block] ** 2 / losses[column : column + block]
        order = scores.flatten().argsort()[: round(sparsity * scores.numel())]
        flat = torch.ones(scores.numel(), dtype=torch.bool)
        flat[order] = False
        keep[:, column : column + block] = flat.view_as(scores)

    return decide


def by_group(n, m):
    def decide(column, weight, losses, keep):
        if column % m:
            return
        for row in range(len(weight)):
            scores = weight[row, column : column + m] ** 2 / losses[column : column + m]
            for place in scores.argsort()[: m - n]:
                keep[row, column + int(place)] = False

    return decide


@pytest.mark.parametrize("block", [4, 12])
def test_unstructured(block):
    weight, x = made()
    gram = x.T @ x / len(x)
    wanted, mask = surgeon(weight, gram, 0.01, by_block(block, 0.5))
    found, keep = SparseGPT(block=block).solve(weight, {"gram": gram.float()}, Unstructured(), 0.5)
    assert torch.equal(keep, mask) and int((found == 0).sum()) == 36
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("block", [4, 12])
def test_two_of_four(block):
    weight, x = made(seed=1)
    gram = x.T @ x / len(x)
    wanted, mask = surgeon(weight, gram, 0.05, by_group(2, 4))
    found, keep = SparseGPT(block=block, dampening=0.05).solve(weight, {"gram": gram.float()}, NM(), 0.5)
    assert torch.equal(keep, mask) and (keep.view(6, 3, 4).sum(-1) == 2).all()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-4)


def test_outputs_change_less_than_without_the_correction_and_no_more_than_least_squares_allows():
    weight, x = made(outputs=16, inputs=32, rows=500, seed=2)
    gram = x.T @ x / len(x)
    found, keep = SparseGPT(block=8, dampening=1e-6).solve(weight, {"gram": gram.float()}, Unstructured(), 0.5)

    def lost(other):
        return float(((x @ (weight - other.double()).T) ** 2).mean())

    best = torch.zeros_like(weight)
    for row in range(len(weight)):  # what no choice of the kept weights can beat
        kept = keep[row]
        best[row, kept] = torch.linalg.lstsq(x[:, kept], x @ weight[row]).solution
    assert lost(best) <= lost(found) < 0.6 * lost(weight * keep)


def test_zeros_stay_and_count_first():
    weight, x = made(seed=3)
    held = torch.ones_like(weight, dtype=torch.bool)
    held[:, 2] = held[1] = False
    gram = (x.T @ x / len(x)).float()
    found, keep = SparseGPT(block=12).solve(weight * held, {"gram": gram}, Unstructured(), 0.5, held)
    assert not keep[~held].any() and (found[~held] == 0).all() and int((~keep).sum()) == 36


def test_zeros_that_are_there_make_up_for_none_of_a_pattern():
    weight, x = made(seed=3)
    held = torch.ones_like(weight, dtype=torch.bool)
    held[:, :3] = False  # three of the first four
    gram = (x.T @ x / len(x)).float()
    _, keep = SparseGPT(block=4).solve(weight * held, {"gram": gram}, NM(), 0.5, held)
    assert (keep.view(6, 3, 4).sum(-1)[:, 1:] == 2).all() and not keep[~held].any()


def test_inputs_that_are_always_zero_go_first():
    weight, x = made(seed=4)
    x[:, [0, 5]] = 0.0
    found, keep = SparseGPT(block=6).solve(weight, {"gram": (x.T @ x / len(x)).float()}, Unstructured(), 0.5)
    assert not keep[:, [0, 5]].any() and int((~keep).sum()) == 36 and found.isfinite().all()


def test_nothing_pruned_is_nothing_changed_and_the_arguments_stay():
    weight, x = made()
    gram = (x.T @ x / len(x)).float()
    before = weight.clone(), gram.clone()
    found, keep = SparseGPT().solve(weight, {"gram": gram}, Unstructured(), 0.0)
    assert keep.all() and torch.equal(found, weight.float())
    SparseGPT().solve(weight, {"gram": gram}, Unstructured(), 0.7)
    assert torch.equal(weight, before[0]) and torch.equal(gram, before[1])


def test_refused():
    with pytest.raises(CompressionError, match="block=0 must be 1 or more"):
        SparseGPT(block=0)
    with pytest.raises(CompressionError, match="dampening=0 must be above 0"):
        SparseGPT(dampening=0)
    with pytest.raises(CompressionError, match="blocks of 6 columns hold no whole groups of m=4"):
        SparseGPT(block=6).solve(torch.ones(2, 12), {"gram": torch.eye(12)}, NM(), 0.5)
