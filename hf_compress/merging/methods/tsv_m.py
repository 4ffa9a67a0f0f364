"""Task singular vectors, decorrelated between the members."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class TsvM(MergeMethod, name="tsv_m"):
    """merged = base + scale * U' diag(S) V'^T, from the largest singular triplets of every member's task matrix.

    With M members and task matrices w_i * (t_i - base) = U_i diag(S_i) V_i^T of shape (O, I), the first
    r = floor(min(O, I) / M) triplets of each are put side by side: U (O, M r), S (M r,), V (I, M r). U' and V' are the
    matrices with orthonormal columns nearest to U and V, U' = U (U^T U)^(-1/2), so that members no longer interfere.

    Convolutions (O, I, k, ...) are taken as (O, I*k*...), as are packed experts. Vectors, and matrices with fewer than M
    singular values (r would be 0), get the mean of the weighted task vectors, base + scale * mean_i w_i * (t_i - base).

    Triplets whose singular value is rounding (a member that left the layer as it was, an adapter's rank) are left out, and
    so are directions of U and V that depend on others: both have arbitrary vectors, which would disturb the other members.

    Attributes:
        scale: of the merged task matrix; the paper's alpha.

    Source: Gargiulo et al. 2025, TSV-Merge: low-rank approximation, orthogonal Procrustes, reconstruction.
    """

    scale: float = 1.0

    needs_base: ClassVar[bool] = True
    whole: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Gargiulo, Crisostomi, Bucarelli, Scardapane, Silvestri, Rodolà",
        title="Task Singular Vectors: Reducing Task Interference in Model Merging",
        year=2025,
        link="https://arxiv.org/abs/2412.00081",
        equation="TSV-Merge",
    )

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        if operands.base is None:
            raise CompressionError(f"{operands.name}: tsv_m merges task vectors; name the base model")
        num_members = len(operands.tensors)
        deltas = [delta.mul_(weight) for delta, weight in zip(operands.deltas(), operands.weights, strict=True)]
        shape = operands.base.shape
        rank = min(shape[0], shape[1:].numel()) // num_members if len(shape) > 1 else 0
        if rank == 0:
            merged = deltas[0]
            for delta in deltas[1:]:
                merged.add_(delta)
            merged.div_(num_members)
        else:
            merged = _decorrelated([delta.reshape(shape[0], -1) for delta in deltas], rank).reshape(shape)
        return merged.mul_(self.scale).add_(operands.base)


def _decorrelated(matrices: list[Tensor], rank: int) -> Tensor:
    """U' diag(S) V'^T of the first `rank` triplets of each (O, I) matrix."""
    left, values, right = [], [], []
    for matrix in matrices:
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
        floor = s[0] * torch.finfo(s.dtype).eps * max(matrix.shape)
        kept = int((s[:rank] > floor).sum())
        left.append(u[:, :kept])
        values.append(s[:kept])
        right.append(vt[:kept].T)
    singular = torch.cat(values)
    if not len(singular):
        return torch.zeros_like(matrices[0])
    return (_nearest_orthonormal(torch.cat(left, 1)) * singular) @ _nearest_orthonormal(torch.cat(right, 1)).T


def _nearest_orthonormal(matrix: Tensor) -> Tensor:
    """X (X^T X)^(-1/2), with the pseudo-inverse where columns depend on one another: (n, m) -> (n, m)."""
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    # The columns have length 1 and come from an fp32 SVD, so singular values of this size are its rounding.
    kept = int((s > s[0] * torch.finfo(s.dtype).eps * max(matrix.shape)).sum())
    return u[:, :kept] @ vt[:kept]
