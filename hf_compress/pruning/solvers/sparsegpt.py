"""Optimal brain surgeon for whole layers, column by column."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.solver import Solver


@dataclass(frozen=True, kw_only=True)
class SparseGPT(Solver, name="sparsegpt"):
    r"""Goes through the inputs from left to right; what a pruned weight leaves over, the inputs to its right take on.

    With G = X^T X / N and H = G + dampening * mean(diag G) I, U the upper Cholesky factor of H^{-1} (so U^T U = H^{-1}):
    in each block of columns the weights with the smallest w_{oi}^2 / U_{ii}^2 are pruned, and where w_{oi} is,

        w_{oj} -= w_{oi} U_{ij} / U_{ii}    for all j >= i,

    which is the best that the weights at j > i can do for the layer's outputs in the mean square (Hessian H).

    Inputs that are always zero go first. Products in fp32, the factor in fp64.

    Attributes:
        block: columns that are decided at once; a multiple of what the pattern decides together.
        dampening: share of the mean of diag G that is added to the diagonal.

    Source: Frantar, Alistarh 2023, algorithm 1.
    """

    block: int = 128
    dampening: float = 0.01

    reference: ClassVar[Reference | None] = Reference(
        authors="Frantar, Alistarh",
        title="SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
        year=2023,
        link="https://arxiv.org/abs/2301.00774",
        equation="algorithm 1",
    )

    def __post_init__(self) -> None:
        if self.block < 1:
            raise CompressionError(f"block={self.block} must be 1 or more")
        if not self.dampening > 0:
            raise CompressionError(f"dampening={self.dampening} must be above 0")

    def check(self, pattern: Pattern) -> None:
        """A block holds what the pattern decides together."""
        pattern.columns_at_once(self.block)

    def solve(
        self,
        weight: Tensor,
        stats: Mapping[str, Tensor],
        pattern: Pattern,
        sparsity: float,
        held: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See `Solver.solve`."""
        found = weight.float().clone()
        known = torch.ones_like(found, dtype=torch.bool) if held is None else held
        factor, dead = self._factor(stats["gram"])
        outputs, inputs = found.shape
        keep = torch.ones_like(known)
        at_once = pattern.columns_at_once(self.block)
        pruned = 0  # by now, so that rounding in one block is made up for in the next
        for start in range(0, inputs, self.block):
            end = min(start + self.block, inputs)
            errors = torch.zeros_like(found[:, start:end])
            for column in range(start, end):
                if (column - start) % at_once == 0:
                    part = slice(column, min(column + at_once, end))
                    score = (found[:, part] / factor.diagonal()[part]).square().masked_fill(dead[part], 0.0)
                    share = sparsity
                    if pattern.any_sparsity:  # where a pattern fixes it, zeros that are there make up for none of it
                        share = max(round(sparsity * outputs * part.stop) - pruned, 0) / score.numel()
                    keep[:, part] = pattern.mask(score.where(known[:, part], -torch.inf), share) & known[:, part]
                    if pattern.any_sparsity:
                        pruned += int((~keep[:, part]).sum())
                gone = found[:, column].masked_fill(keep[:, column], 0.0) / factor[column, column]
                found[:, column:end] -= torch.outer(gone, factor[column, column:end])
                errors[:, column - start] = gone
            found[:, end:] -= errors @ factor[start:end, end:]
        return found.masked_fill_(~keep, 0.0), keep

    def _factor(self, gram: Tensor) -> tuple[Tensor, Tensor]:
        """U (I, I) fp32, and which inputs are always zero (I,).

        Raises:
            CompressionError: H has no Cholesky factor.
        """
        hessian = gram.to(torch.float64, copy=True)
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal.add_(dead.double()).add_(self.dampening * diagonal.mean())
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not int(failed):
            lower, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower))
        if int(failed):
            raise CompressionError(
                "sparsegpt: the inputs of a layer are so alike that their inner products cannot be inverted; raise"
                f" dampening={self.dampening:g}, or give more examples"
            )
        return lower.mT.float(), dead
