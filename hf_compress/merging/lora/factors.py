"""Low-rank factors as tensors: cutting a product B @ A to a rank, and finding one for a matrix."""

import hashlib

import torch
from torch import Tensor

from hf_compress._errors import CompressionError

OVERSAMPLING = 10
"""Columns drawn beyond the rank."""
POWER_ITERATIONS = 2
"""Passes over the matrix that push its large singular values apart from the small ones."""


def truncate(b: Tensor, a: Tensor, rank: int | None = None, energy: float | None = None) -> tuple[Tensor, Tensor, float]:
    """The best factors of lower rank for B @ A, without forming the product.

    B = Q_b R_b and A^T = Q_a R_a give B A = Q_b (R_b R_a^T) Q_a^T, so the singular values of the product are those of the
    small R x R core. The error is the optimum: the square root of the sum of the squared singular values left out.

    Args:
        b: (O, R).
        a: (R, I).
        rank: of the result at most; more than there is to keep keeps all.
        energy: the share of the squared norm that stays at least, in (0, 1], as far as `rank` allows.

    Returns:
        B (O, r) and A (r, I) in fp32, computed in fp64 and balanced (both carry the square root of the singular values);
        and the Frobenius norm of what was left out.

    Source: Eckart and Young 1936, for the optimality of the truncated singular value decomposition.
    """
    left, left_triangle = torch.linalg.qr(b.double())
    right, right_triangle = torch.linalg.qr(a.double().T)
    u, s, vh = torch.linalg.svd(left_triangle @ right_triangle.T, full_matrices=False)
    keep = len(s) if energy is None else rank_for_energy(s, float(s.square().sum()), energy)
    keep = keep if rank is None else min(rank, keep)
    root = s[:keep].sqrt()
    new_b = (left @ u[:, :keep]) * root
    new_a = root[:, None] * (vh[:keep] @ right.T)
    return new_b.float(), new_a.float(), float(s[keep:].square().sum().sqrt())


def rank_for_energy(singular_values: Tensor, total: float, energy: float) -> int:
    """The lowest rank whose squared singular values sum to at least `energy` times `total`; all of them where none do.

    Args:
        singular_values: (R,), falling.
        total: the squared Frobenius norm of the whole matrix.
        energy: in (0, 1].
    """
    reached = singular_values.double().square().cumsum(0) >= energy * total * (1 - 1e-12)
    return int(reached.int().argmax()) + 1 if bool(reached.any()) else len(singular_values)


def randomized_svd(
    matrix: Tensor,
    rank: int,
    generator: torch.Generator,
    *,
    oversampling: int = OVERSAMPLING,
    power_iterations: int = POWER_ITERATIONS,
) -> tuple[Tensor, Tensor, Tensor]:
    """The leading singular triplets of a matrix, from its product with a few random vectors.

    Y = M G with G Gaussian (I, rank + oversampling), an orthonormal Q for the range of Y, sharpened by alternating products
    with M^T and M, each made orthonormal again; then the exact decomposition of the small Q^T M. Where the sample would
    be as wide as the matrix, the exact decomposition is taken.

    Args:
        matrix: (O, I) fp32.
        rank: triplets wanted, <= min(O, I).
        generator: of the random vectors, on the CPU.
        oversampling: columns drawn beyond the rank.
        power_iterations: see above.

    Returns:
        U (O, rank), singular values (rank,), V^T (rank, I).

    Source: Halko, Martinsson and Tropp 2011, algorithms 4.4 and 5.1.
    """
    width = rank + oversampling
    if width >= min(matrix.shape):
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u[:, :rank], s[:rank], vh[:rank]
    sample = torch.randn(matrix.shape[1], width, generator=generator)
    q = torch.linalg.qr(matrix @ sample)[0]
    for _ in range(power_iterations):
        q = torch.linalg.qr(matrix.T @ q)[0]
        q = torch.linalg.qr(matrix @ q)[0]
    u, s, vh = torch.linalg.svd(q.T @ matrix, full_matrices=False)
    return (q @ u)[:, :rank], s[:rank], vh[:rank]


def factorize(
    matrix: Tensor, generator: torch.Generator, *, rank: int | None = None, energy: float | None = None
) -> tuple[Tensor, Tensor, float]:
    """B (O, r) and A (r, I) with B @ A close to `matrix`, balanced, by `randomized_svd`.

    Args:
        matrix: (O, I) fp32, not all zero.
        generator: of the random vectors.
        rank: of the result at most.
        energy: the share of the squared norm that stays at least, as far as `rank` allows; the sample doubles until it
            holds that much.

    Returns:
        B, A, and the Frobenius norm of matrix - B @ A, measured.
    """
    most = min(matrix.shape) if rank is None else min(rank, *matrix.shape)
    if energy is None:
        u, s, vh = randomized_svd(matrix, most, generator)
    else:
        total = float(matrix.double().square().sum())
        tried = min(16, most)
        u, s, vh = randomized_svd(matrix, tried, generator)
        while tried < most and float(s.double().square().sum()) < energy * total:
            tried = min(2 * tried, most)
            u, s, vh = randomized_svd(matrix, tried, generator)
        keep = rank_for_energy(s, total, energy)
        u, s, vh = u[:, :keep], s[:keep], vh[:keep]
    root = s.sqrt()
    b, a = u * root, root[:, None] * vh
    return b, a, float(torch.linalg.norm(matrix - b @ a))


def keyed_generator(seed: int, name: str) -> torch.Generator:
    """Random numbers that depend on nothing but (seed, name), whatever the order of the layers."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def check_size(rank: int | None, energy: float | None) -> None:
    """Refuse a rank or an energy that is none.

    Raises:
        CompressionError: naming the value.
    """
    if rank is not None and rank < 1:
        raise CompressionError(f"rank={rank} is not a rank; it must be at least 1")
    if energy is not None and not 0 < energy <= 1:
        raise CompressionError(f"energy={energy} lies outside (0, 1]; 0.99 keeps 99 % of the squared norm")
