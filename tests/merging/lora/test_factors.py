"""Cutting products and finding factors, against the full decomposition."""

import pytest
import torch

from hf_compress.merging.lora.factors import factorize, keyed_generator, randomized_svd, rank_for_energy, truncate


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_diagonal_product_is_cut_to_its_largest_entries():
    """B @ A = diag(4, 2, 1); rank 2 leaves out 1, and each factor carries the root: 2 and sqrt(2)."""
    b, a, lost = truncate(torch.diag(torch.tensor([4.0, 1.0, 2.0])), torch.eye(3), rank=2)
    torch.testing.assert_close(b @ a, torch.diag(torch.tensor([4.0, 0.0, 2.0])))
    assert lost == pytest.approx(1)
    torch.testing.assert_close(b.norm(dim=0), torch.tensor([2.0, 2.0**0.5]))
    torch.testing.assert_close(a.norm(dim=1), torch.tensor([2.0, 2.0**0.5]))


@pytest.mark.parametrize(("out", "inner", "inputs"), [(30, 6, 20), (4, 9, 20), (20, 9, 4)])
def test_cutting_equals_the_truncated_decomposition_of_the_full_product(out, inner, inputs):
    b, a = random(out, inner), random(inner, inputs, seed=1)
    u, s, vh = torch.linalg.svd(b.double() @ a.double(), full_matrices=False)
    got_b, got_a, lost = truncate(b, a, rank=3)
    best = (u[:, :3] * s[:3]) @ vh[:3]
    torch.testing.assert_close((got_b @ got_a).double(), best, rtol=1e-5, atol=1e-5)  # factors are stored in fp32
    assert lost == pytest.approx(float(s[3:].square().sum().sqrt()), rel=1e-9)


def test_rank_and_energy_hold_together():
    b = torch.diag(torch.tensor([3.0, 2.0, 1.0]))  # squares 9, 4, 1 of 14
    assert truncate(b, torch.eye(3), energy=0.9)[0].shape[1] == 2
    assert truncate(b, torch.eye(3), energy=0.95)[0].shape[1] == 3
    assert truncate(b, torch.eye(3), rank=1, energy=0.95)[0].shape[1] == 1
    assert rank_for_energy(torch.tensor([2.0, 1.0]), 10.0, 0.9) == 2  # a sample that does not hold enough


def test_a_matrix_of_low_rank_is_found_exactly():
    matrix = random(80, 5) @ random(5, 60, seed=1)
    b, a, lost = factorize(matrix, torch.Generator().manual_seed(0), rank=5)
    # fp32 rounding of products of that size
    torch.testing.assert_close(b @ a, matrix, rtol=1e-4, atol=1e-4)
    assert lost < 1e-5 * float(matrix.norm())


def test_power_iterations_bring_a_flat_spectrum_near_the_optimum():
    matrix = random(200, 150)
    best = float(torch.linalg.svdvals(matrix)[10:].square().sum().sqrt())
    errors = []
    for iterations in (0, 2):
        generator = torch.Generator().manual_seed(0)
        u, s, vh = randomized_svd(matrix, 10, generator, power_iterations=iterations)
        torch.testing.assert_close(u.T @ u, torch.eye(10), rtol=0, atol=1e-5)
        errors.append(float((matrix - (u * s) @ vh).norm()) / best)
    assert 1 <= errors[1] < errors[0]
    assert errors[1] < 1.01


def test_random_vectors_depend_on_seed_and_name_alone():
    draws = [torch.randn(3, generator=keyed_generator(*key)) for key in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[3])
