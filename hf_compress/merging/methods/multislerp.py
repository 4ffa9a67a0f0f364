"""Multi-SLERP: spherical interpolation between any number of models."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.inner_products import Lines, combine, gram
from hf_compress.merging.mathematics.sphere import CANCELLED, exponential, length, logarithm, units
from hf_compress.merging.mathematics.weights import refuse_zero_sum
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands

_SHIFT = 1e-8


@dataclass(frozen=True, kw_only=True)
class MultiSlerp(MergeMethod, name="multislerp"):
    """merged = (sum_i w_i |v_i|) * exp_m(sum_i w_i log_m(u_i)), u_i = v_i / |v_i|, m = sum_i w_i u_i over its length.

    v_i are the members' flat tensors or, with a base, their task vectors; the result is then added to the base. log_m and
    exp_m go from the unit sphere to its tangent space at m and back. For two members this is SLERP with t = w_2, up to
    the length. A zero v_i has no direction and counts only in the length. Where the directions cancel (|sum_i w_i u_i| <
    1e-7) there is no m, and the weighted sum of the v_i is taken.

    Attributes:
        normalize: divide the weights by their sum.
        compat: "mergekit" projects the u_i orthogonally onto the tangent space instead of taking logarithms; those
            projections sum to 0, so its result is the direction m itself. It divides by |v_i| + 1e-8, and one member
            alone keeps its tensor whatever its weight (and whatever the base).

    Source: the first step of the spherical average of Buss and Fillmore 2001, algorithm A1.
    """

    normalize: bool = True
    compat: Compat = "paper"

    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Buss, Fillmore",
        title="Spherical averages and applications to spherical splines and interpolation",
        year=2001,
        link="https://doi.org/10.1145/502122.502124",
        equation="algorithm A1, first step",
    )

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """The sum must not be 0 where it divides."""
        if self.normalize:
            refuse_zero_sum(weights, name, "multislerp")

    def survey(self, operands: Operands) -> tuple[Tensor, Lines]:
        """The factors of the v_i, (M, 1)."""
        lines = Lines.cut(tuple(operands.tensors[0].shape), "tensor")
        inner = gram(operands, lines, from_base=operands.base is not None)[:, :, 0]
        weights = torch.tensor(operands.weights, dtype=torch.float64)
        if self.normalize:
            weights = weights / weights.sum()
        differs = differences(self.compat)
        if differs.copies_lone_member and len(weights) == 1:
            factors = torch.ones_like(weights)
        else:
            factors = (_projected if differs.projects_tangents else self._averaged)(inner, weights)
        return factors[:, None], lines

    def merge(self, operands: Operands, survey: tuple[Tensor, Lines]) -> Tensor:
        """Any shape -> the same shape, fp32."""
        return combine(operands, *survey, from_base=operands.base is not None)

    def _averaged(self, inner: Tensor, weights: Tensor) -> Tensor:
        lengths, inverses, cosines = units(inner)
        pull = weights * (lengths > 0)
        if self.normalize and abs(pull.sum().item()) > CANCELLED:
            pull = pull / pull.sum()
        size = length(pull, cosines)
        if size < CANCELLED:
            return weights
        mean = pull / size
        mean = exponential(mean, logarithm(mean, pull, cosines), cosines)
        return mean * inverses * (weights @ lengths)


def _projected(inner: Tensor, weights: Tensor) -> Tensor:
    """The direction is m: the projections onto its tangent space sum to 0."""
    lengths, inverses, cosines = units(inner, _SHIFT)
    size = length(weights, cosines)
    if size < _SHIFT:
        return weights
    return weights / size * inverses * (weights @ lengths)
