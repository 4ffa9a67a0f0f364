"""The Karcher mean: the point of the sphere nearest to all members."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.inner_products import Lines, combine, gram
from hf_compress.merging.mathematics.sphere import CANCELLED, exponential, length, logarithm, units
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Karcher(MergeMethod, name="karcher"):
    """merged = (sum_i w_i |t_i|) * argmin_m sum_i w_i angle(m, t_i)^2 over unit vectors m, with weights that sum to 1.

    Found by walking m <- exp_m(sum_i w_i log_m(t_i / |t_i|)) from the weighted mean direction. m stays a sum of the
    members, so all of it happens on their M x M inner products: one pass over the data, and the steps cost nothing.
    A base takes no part. A zero tensor has no direction and counts only in the length. Where the directions cancel
    (their weighted sum is shorter than 1e-7) the mean is not unique, and the weighted average is taken.

    Attributes:
        max_iter: steps at most.
        tol: a step shorter than this many radians ends the walk; below 1e-8 rounding decides.
        compat: "mergekit" gives tensors no longer than `tol` no direction (all members so short: zeros), and starts at
            the first member where the directions cancel to less than `tol`. It knows equal weights only, and its defaults
            are max_iter=10, tol=1e-5, to be set here for the same numbers.

    Source: Karcher 1977 for the mean; Wang et al. 2026 for merging models with it.
    """

    max_iter: int = 100
    tol: float = 1e-7
    compat: Compat = "paper"

    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Wang, Ye, Yin",
        title="Functionality-oriented LLM merging on the Fisher-Rao manifold",
        year=2026,
        link="https://arxiv.org/abs/2603.04972",
    )

    def __post_init__(self) -> None:
        if self.max_iter < 1:
            raise CompressionError(f"max_iter={self.max_iter!r} allows no step; use at least 1")
        if not self.tol > 0:
            raise CompressionError(f"tol={self.tol!r} is not positive; use radians, e.g. 1e-7")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """A mean needs weights that are not negative and not all 0."""
        if min(weights) < 0 or sum(weights) <= 0:
            raise CompressionError(
                f"{name}: karcher needs weights >= 0 that are not all 0, and got {list(weights)}; to subtract a model use"
                " task_arithmetic"
            )

    def survey(self, operands: Operands) -> tuple[Tensor, Lines]:
        """The factors of the tensors, (M, 1)."""
        lines = Lines.cut(tuple(operands.tensors[0].shape), "tensor")
        lengths, inverses, cosines = units(gram(operands, lines, from_base=False)[:, :, 0])
        weights = torch.tensor(operands.weights, dtype=torch.float64)
        weights = weights / weights.sum()
        differs = differences(self.compat)
        least = self.tol if differs.drops_short_vectors else 0.0
        cancelled = self.tol if differs.starts_at_a_member else CANCELLED
        pull = weights * (lengths > least)
        if len(weights) == 1 or not pull.any():
            dropped = differs.drops_short_vectors and len(weights) > 1
            return (0 * weights if dropped else weights)[:, None], lines
        pull = pull / pull.sum()
        size = length(pull, cosines)
        if size >= cancelled:
            mean = pull / size
        elif differs.starts_at_a_member:
            mean = torch.zeros_like(pull)
            mean[int((lengths > least).nonzero()[0])] = 1
        else:
            return weights[:, None], lines
        for _ in range(self.max_iter):
            tangent = logarithm(mean, pull, cosines)
            if length(tangent, cosines) < self.tol:
                break
            mean = exponential(mean, tangent, cosines)
        return (mean * inverses * (weights @ lengths))[:, None], lines

    def merge(self, operands: Operands, survey: tuple[Tensor, Lines]) -> Tensor:
        """Any shape -> the same shape, fp32."""
        return combine(operands, *survey, from_base=False)
