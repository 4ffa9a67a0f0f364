"""Steps on the unit sphere that stay in the span of a few unit vectors.

A point is its M coefficients over unit vectors u_1 ... u_M, and everything is computed from their inner products
K[i, j] = u_i . u_j, in double precision. A zero vector has K[i, :] = 0 and no influence.
"""

import math

import torch
from torch import Tensor

CANCELLED = 1e-7
"""A sum of unit vectors shorter than this points nowhere: its direction is rounding."""


def units(gram: Tensor, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Lengths of the vectors, their inverses (0 for zero vectors) and K.

    Args:
        gram: inner products, (M, M) float64.
        shift: added to the lengths before dividing by them.

    Returns:
        (M,), (M,), (M, M).
    """
    lengths = gram.diagonal().clamp(min=0).sqrt()
    inverses = torch.where(lengths > 0, 1 / (lengths + shift), 0.0)
    return lengths, inverses, gram * inverses[:, None] * inverses


def length(point: Tensor, inner: Tensor) -> float:
    """The length of sum_i point[i] * u_i."""
    return math.sqrt(max((point @ inner @ point).item(), 0.0))


def logarithm(point: Tensor, weights: Tensor, inner: Tensor) -> Tensor:
    """sum_i weights[i] * log(u_i), a tangent vector at `point`: log(u) = angle / sin(angle) * (u - cos(angle) * point).

    A vector opposite to the point has no logarithm and is left out.
    """
    cosines = (inner @ point).clamp(-1, 1)
    sines = (1 - cosines.square()).sqrt()
    stretch = torch.where(sines > CANCELLED, cosines.acos() / sines, (cosines > 0).double())
    pull = weights * stretch
    return pull - (pull @ cosines) * point


def exponential(point: Tensor, tangent: Tensor, inner: Tensor) -> Tensor:
    """Where a walk from `point` along `tangent` ends: cos(|tangent|) * point + sin(|tangent|) / |tangent| * tangent."""
    distance = length(tangent, inner)
    if distance < 1e-12:
        return point
    moved = math.cos(distance) * point + math.sin(distance) / distance * tangent
    return moved / length(moved, inner)


def arc(cosine: Tensor, straight: Tensor, t: float) -> Tensor:
    """The factors of a and b in their spherical interpolation: sin((1-t) W)/sin(W) and sin(t W)/sin(W), cos W = `cosine`.

    Args:
        cosine: of the angle, any shape.
        straight: bool, same shape; where True the factors are 1 - t and t.
        t: 0 gives a, 1 gives b.

    Returns:
        (2, ...) float64.
    """
    angle = torch.where(straight, 0.0, cosine).acos()
    both = torch.stack([((1 - t) * angle).sin(), (t * angle).sin()]) / angle.sin()
    line = torch.tensor([1 - t, t], dtype=torch.float64).view(2, *[1] * cosine.ndim)
    return torch.where(straight, line, both)
