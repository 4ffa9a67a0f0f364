"""Isotropic merging: the sum of the task matrices with one singular value for all directions."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class IsoC(MergeMethod, name="iso_c"):
    """merged = base + scale * mean(S) * U V^T, where U diag(S) V^T = sum_i w_i * (t_i - base).

    Convolutions (O, I, k, ...) are taken as (O, I*k*...), as are packed experts. Vectors get the mean of the weighted task
    vectors, base + scale * mean_i w_i * (t_i - base). Where the sum has not full rank (adapters, layers left as they were),
    the mean runs over the singular values above rounding, and the directions without one stay untouched.

    Attributes:
        scale: of the merged task matrix; the paper's alpha, tuned there on held-out data.

    Source: Marczak et al. 2025, Iso-C; of the sum of the task matrices, as in task arithmetic, not of their mean.
    """

    scale: float = 1.0

    needs_base: ClassVar[bool] = True
    whole: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Marczak, Magistri, Cygert, Twardowski, Bagdanov, van de Weijer",
        title="No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces",
        year=2025,
        link="https://arxiv.org/abs/2502.04959",
        equation="Iso-C",
    )

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        if operands.base is None:
            raise CompressionError(f"{operands.name}: iso_c merges task vectors; name the base model")
        summed = operands.delta(0).mul_(operands.weights[0])
        for member, weight in enumerate(operands.weights[1:], start=1):
            summed.add_(operands.delta(member).mul_(weight))
        if summed.dim() > 1 and summed.numel():
            merged = _isotropic(summed.reshape(summed.shape[0], -1)).reshape(summed.shape)
        else:
            merged = summed.div_(len(operands.tensors))
        return merged.mul_(self.scale).add_(operands.base)


def _isotropic(matrix: Tensor) -> Tensor:
    """(O, I) with every non-zero singular value replaced by their mean."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    kept = int((s > s[0] * torch.finfo(s.dtype).eps * max(matrix.shape)).sum())
    return s[:kept].mean() * (u[:, :kept] @ vt[:kept]) if kept else torch.zeros_like(matrix)
