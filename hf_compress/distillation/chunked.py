"""A sum over rows of logits whose gradient is computed in the forward pass, chunk by chunk.

A dense KL on (B, T, V) logits keeps about nine fp32 tensors of that size until backward. Here each chunk of rows is cast
to fp32, its loss and gradient are computed at once, and only the gradient is kept, in the logits' own type: one tensor the
size of the logits plus one chunk, and less time, because a chunk stays in cache.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ChunkLoss = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""(n, V) fp32 logits and the (n,) row numbers -> scalar sums; the first is differentiated, the rest are for logs."""

CHUNK_BYTES = 4 * 2**20
"""fp32 bytes of one chunk of logits; measured in scripts/bench/distillation_loss.py."""


class _ChunkedSum(torch.autograd.Function):
    """Loss and gradient in one pass over the rows."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, chunk_loss: ChunkLoss, chunk_rows: int) -> Any:
        gradient = torch.zeros_like(logits)
        totals: list[Tensor] = []
        for part in index.split(chunk_rows):
            with torch.enable_grad():
                rows = logits.detach()[part].float().requires_grad_()
                sums = chunk_loss(rows, part)
                (row_gradient,) = torch.autograd.grad(sums[0], rows)
            gradient[part] = row_gradient.to(gradient.dtype)
            values = [value.detach() for value in sums]
            totals = [a + b for a, b in zip(totals, values, strict=True)] if totals else values
        ctx.gradient = gradient
        ctx.mark_non_differentiable(*totals[1:])
        return tuple(totals)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.gradient is None:
            raise RuntimeError("the chunked loss keeps its gradient for one backward pass; compute the loss again")
        # In place: a second tensor of the logits' size would undo what chunking saved.
        gradient, ctx.gradient = ctx.gradient.mul_(upstream[0]), None
        return gradient, None, None, None


def chunked_sum(logits: Tensor, keep: Tensor, chunk_loss: ChunkLoss, chunk_bytes: int = CHUNK_BYTES) -> tuple[Tensor, ...]:
    """`chunk_loss` summed over the kept rows.

    Args:
        logits: (N, V), any float type.
        keep: (N,) bool; rows that are False are never computed and get a zero gradient.
        chunk_loss: see `ChunkLoss`.
        chunk_bytes: fp32 size of one chunk.

    Returns:
        The sums `chunk_loss` returns, fp32 scalars; the first carries the gradient.
    """
    chunk_rows = max(1, chunk_bytes // (4 * logits.shape[-1]))
    return _ChunkedSum.apply(logits, keep.nonzero().squeeze(-1), chunk_loss, chunk_rows)
