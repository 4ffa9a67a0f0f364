"""The contract of a sparsity pattern, and the one selection every pattern needs."""

from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress._selection import largest
from hf_compress._sharding.across import ALONE, Across


class Pattern(Strategy, kind="pattern", package="hf_compress.pruning.patterns"):
    """Turns scores into a mask of an allowed shape.

    Attributes:
        any_sparsity: False where the pattern itself fixes a layer's final sparsity, so that no allocation can move it.
        along_inputs: True where neighbours matter, so that a convolution is given as one row of input channels for each
            output and kernel position, (O * K, C), and not as (O, C * K).
    """

    any_sparsity: ClassVar[bool] = True
    along_inputs: ClassVar[bool] = False

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """The mask for one layer.

        Args:
            score: (O, I) fp32, higher = keep.
            sparsity: share of zeros in [0, 1).

        Returns:
            (O, I) bool, True = keep, with exactly `round(sparsity * O * I)` False entries; of equal scores the one with
            the lower flat index is kept.
        """
        raise TypeError(f"{type(self).__name__} defines no mask()")

    def mask_of_part(self, score: Tensor, sparsity: float, across: Across) -> Tensor | None:
        """This process's part of the mask of a layer of which every process holds a part.

        Args:
            score: the scores of the part: rows of the layer's, or columns of them.
            sparsity: share of zeros of the layer.
            across: the processes that hold the others; all of them ask.

        Returns:
            The part of what `mask` says of the whole layer; None where that takes all scores, which are gathered then.
        """
        return None

    def check(self, sparsity: float) -> None:
        """Refuse a final sparsity the pattern cannot have.

        Raises:
            CompressionError: with the sparsity that fits.
        """


def keep_largest(score: Tensor, num_pruned: int, across: Across = ALONE) -> Tensor:
    """A bool mask of `score`'s shape, with exactly `num_pruned` False entries in all processes, at the lowest scores.

    Equal scores: the higher flat index is pruned first.
    """
    total = across.total(score.numel())
    return largest(lambda: [score], min(max(total - num_pruned, 0), total), score.numel(), across).mask(score)
