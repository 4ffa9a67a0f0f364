"""The layer that best repeats every member's outputs on that member's own inputs."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands

SINGULAR = 1e-6
"""Eigenvalues of the correlation matrix below this part of the largest are the rounding of fp32 gram matrices, not data."""


@dataclass(frozen=True, kw_only=True)
class RegMean(MergeMethod, name="regmean"):
    """merged^T = (sum_i w_i G_i)^-1 sum_i w_i G_i t_i^T, for t_i (O, I) and gram matrices G_i = X_i^T X_i (I, I).

    With alpha = 1 it minimises sum_i w_i ||X_i W^T - X_i t_i^T||^2. Below 1, the elements of G_i off the diagonal are
    multiplied by alpha first, which keeps the result nearer to the members: 0 weighs each input by its mean square alone.

    Gram matrices come from `collect_gram`, per token, so that a member's number of examples does not weigh. One of shape
    (I, I) belongs to a weight with inputs along its last dimension; (I, I, 1) says that they lie along the first, as in
    the `Conv1D` of GPT-2, (I, O). Tensors without one (biases, norms, embeddings, convolutions, packed experts) get the
    weighted mean sum_i w_i t_i / sum_i w_i, and so does every direction of the input space that no member's data reach.

    Solved in fp64 for the difference from the weighted mean.

    Attributes:
        alpha: of the elements off the diagonal; in [0, 1]. The paper takes 0.9, and 0.1 for T5.

    Source: Jin et al. 2023, the closed form for linear layers (RegMean) and its non-diagonal scaling alpha.
    """

    alpha: float = 0.9

    whole: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("gram",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Jin, Ren, Preotiuc-Pietro, Cheng",
        title="Dataless Knowledge Fusion by Merging Weights of Language Models",
        year=2023,
        link="https://arxiv.org/abs/2212.09849",
        equation="RegMean",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise CompressionError(f"alpha={self.alpha!r} lies outside [0, 1]; 1 keeps the gram matrices as they are")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """A least-squares problem has no negative weights, and something must be left to divide by."""
        if min(weights) < 0 or sum(weights) < 1e-12:
            raise CompressionError(
                f"{name}: regmean weighs squared errors by {list(weights)}; write weights >= 0, not all 0"
            )

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        weights, total = operands.weights, sum(operands.weights)
        mean = torch.zeros_like(operands.tensors[0], dtype=torch.float64)
        for tensor, weight in zip(operands.tensors, weights, strict=True):
            mean.add_(tensor.double(), alpha=weight / total)
        grams = operands.statistics.get("gram")
        if grams is None:
            return mean.float()
        inputs_first = grams[0].dim() == 3
        matrices = [(tensor if inputs_first else tensor.mT).double() for tensor in operands.tensors]
        center = mean if inputs_first else mean.mT
        summed = mean.new_zeros(grams[0].shape[:2])
        target = torch.zeros_like(center)
        for member, (matrix, gram, weight) in enumerate(zip(matrices, grams, weights, strict=True)):
            if gram.dim() != grams[0].dim() or gram.shape[:2] != (matrix.shape[0],) * 2:
                raise CompressionError(
                    f"{operands.name}: the gram matrix of {operands.members[member]} has the shape {tuple(gram.shape)}, and"
                    f" its weight {tuple(operands.tensors[member].shape)}; collect it on this model with collect_gram"
                )
            weighted = gram.reshape(summed.shape).double() * weight
            scaled = weighted * self.alpha
            scaled.diagonal().copy_(weighted.diagonal())
            summed.add_(scaled)
            target.add_(scaled @ (matrix - center))
        merged = center + _solve(summed, target)
        return (merged if inputs_first else merged.mT).to(torch.float32, memory_format=torch.contiguous_format)


def _solve(gram: Tensor, target: Tensor) -> Tensor:
    """The smallest D (I, O) with gram D = target, for a symmetric gram (I, I) without negative eigenvalues.

    Inputs are first scaled to mean square 1: rare inputs are well determined, and only a relation between inputs is not.
    """
    scale = gram.diagonal().sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    gram, target = gram / scale[:, None] / scale, target / scale[:, None]
    factor, info = torch.linalg.cholesky_ex(gram)
    if info == 0 and factor.diagonal().square().min() > SINGULAR * len(gram):
        return torch.cholesky_solve(target, factor) / scale[:, None]
    values, vectors = torch.linalg.eigh(gram)
    kept = values > SINGULAR * values[-1].clamp(min=torch.finfo(values.dtype).tiny)
    vectors = vectors[:, kept]
    return vectors @ ((vectors.T @ target) / values[kept, None]) / scale[:, None]
