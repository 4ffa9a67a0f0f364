"""Inner products of the members' tensors, and sums of them.

Methods that work with angles and norms need nothing of the data but the M x M matrix of inner products: what they compute
is a sum of the members, and its factors follow from that matrix alone. So they read the tensors once, in chunks.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress.merging.operands import Operands

Along = Literal["tensor", "rows", "columns", "filters"]
"""Which elements form one vector: the whole tensor; each run along its last dimension; each along its first; everything
that belongs to one index of the first dimension (rows and filters differ only with more than two dimensions)."""


@dataclass(frozen=True, kw_only=True)
class Lines:
    """A tensor cut into vectors: the element at flat index e belongs to the vector number (e // stride) % count.

    Attributes:
        count: number of vectors.
        stride: see above.
    """

    count: int
    stride: int

    @classmethod
    def cut(cls, shape: tuple[int, ...], along: Along) -> "Lines":
        """The vectors of a tensor of this `shape`; one with fewer than two dimensions is a single vector."""
        size = math.prod(shape)
        if along not in ("tensor", "rows", "columns", "filters"):
            raise CompressionError(f"along={along!r} is unknown; use tensor, rows, columns or filters")
        if along == "tensor" or len(shape) < 2 or size == 0:
            return cls(count=1, stride=max(size, 1))
        if along == "rows":
            return cls(count=size // shape[-1], stride=shape[-1])
        if along == "columns":
            return cls(count=size // shape[0], stride=1)
        return cls(count=shape[0], stride=size // shape[0])

    def index(self, operands: Operands) -> Tensor:
        """The number of the vector each element of a chunk belongs to, (n,) int64, on the chunk's device."""
        first, start = operands.tensors[0], operands.offset
        flat = torch.arange(start, start + first.numel(), device=first.device)
        return flat.div_(self.stride, rounding_mode="floor").remainder_(self.count)


def gram(operands: Operands, lines: Lines, *, from_base: bool) -> Tensor:
    """Inner products v_i . v_j of the members' tensors, or of their task vectors.

    Products and sums are taken in double precision, and differences from the base as well.

    Args:
        operands: the whole tensor.
        lines: its vectors.
        from_base: v_i = tensors[i] - base instead of tensors[i].

    Returns:
        (M, M, lines.count) float64, on the CPU.
    """
    num_members, device = len(operands.tensors), operands.tensors[0].device
    total = torch.zeros(num_members, num_members, lines.count, dtype=torch.float64, device=device)
    for chunk in operands.chunks():
        vectors = torch.empty(num_members, chunk.tensors[0].numel(), dtype=torch.float64, device=device)
        for row, tensor in zip(vectors, chunk.tensors, strict=True):
            row.copy_(tensor)
        if from_base:
            assert chunk.base is not None, operands.name
            vectors.sub_(chunk.base.double())
        if lines.count == 1:
            total[:, :, 0] += vectors @ vectors.T
            continue
        index = lines.index(chunk)
        for i in range(num_members):
            for j in range(i, num_members):
                total[i, j].index_add_(0, index, vectors[i] * vectors[j])
    for i in range(num_members):
        for j in range(i):
            total[i, j] = total[j, i]
    return total.cpu()


def combine(operands: Operands, factors: Tensor, lines: Lines, *, from_base: bool) -> Tensor:
    """sum_i factors[i] * v_i, plus the base where the v_i are task vectors.

    Args:
        operands: a chunk, or a whole tensor.
        factors: (M, lines.count).
        lines: the vectors of the whole tensor.
        from_base: v_i = tensors[i] - base instead of tensors[i].

    Returns:
        fp32, the shape of the operands.
    """
    index = lines.index(operands).view(operands.tensors[0].shape) if lines.count > 1 else None
    merged: Tensor | None = None
    for member, factor in enumerate(factors):
        vector = operands.delta(member) if from_base else operands.tensors[member].to(torch.float32, copy=True)
        vector.mul_(factor.item() if index is None else factor.to(vector.device, torch.float32)[index])
        merged = vector if merged is None else merged.add_(vector)
    assert merged is not None, operands.name
    return merged.add_(operands.base) if operands.base is not None and from_base else merged
