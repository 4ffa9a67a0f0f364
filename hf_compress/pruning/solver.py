"""The contract of a solver: which weights of a layer go, and what becomes of those that stay."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress.pruning.pattern import Pattern


class Solver(Strategy, kind="solver", package="hf_compress.pruning.solvers"):
    """Prunes a layer at once and corrects the weights that stay, so that its outputs change little. It needs no criterion.

    Attributes:
        needs: the statistics of inputs that `solve` reads, by name; they are collected block by block, each block's after
            the blocks before it are pruned.
    """

    needs: ClassVar[tuple[str, ...]] = ("gram",)

    def check(self, pattern: Pattern) -> None:
        """Refuse a pattern that cannot be had this way, before anything is measured; by default none.

        Raises:
            CompressionError: with what fits.
        """

    def solve(
        self,
        weight: Tensor,
        stats: Mapping[str, Tensor],
        pattern: Pattern,
        sparsity: float,
        held: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One layer.

        Args:
            weight: (O, I), any float type.
            stats: what `needs` names, for this layer: (I,) or (I, I).
            pattern: the shape of the zeros.
            sparsity: share of zeros in [0, 1).
            held: (O, I) bool, False where the weight is pruned already and stays so; these count first.

        Returns:
            The weights (O, I) fp32, zero where they are pruned, and the mask (O, I) bool, True = keep.

        Raises:
            CompressionError: the pattern cannot be decided from left to right, or the statistics admit no solution.
        """
        raise TypeError(f"{type(self).__name__} defines no solve()")
