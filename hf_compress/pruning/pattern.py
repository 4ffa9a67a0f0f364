"""The contract of a sparsity pattern, and the one selection every pattern needs."""

from typing import ClassVar

import torch
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
            (O, I) bool, True = keep, with exactly `round(sparsity * N)` of its N units False (N = O * I where weights go
            one by one); of equal scores the one with the lower flat index is kept. A score of -inf is that of a weight
            that is pruned already.
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

    def unit(self, outputs: int, inputs: int) -> tuple[int, int]:
        """How many rows and columns of a layer's (O, I) matrix go together; single weights unless a pattern says more."""
        return 1, 1

    def check_layer(self, outputs: int, inputs: int) -> None:
        """Refuse a layer that the pattern does not fit into.

        Args:
            outputs: rows of what `mask` would be given for it.
            inputs: columns of that.

        Raises:
            CompressionError: with the number that does not go into which other.
        """

    def columns_at_once(self, most: int) -> int:
        """How many neighbouring columns have to be decided together, where a layer is gone through from left to right.

        Args:
            most: columns that may be.
        """
        return most

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


def unit_means(score: Tensor, unit: tuple[int, int]) -> Tensor:
    """The mean score of each rectangle of weights that go together.

    Weights that are pruned already (a score of -inf) count as 0; a rectangle of nothing else has -inf.

    Args:
        score: (O, I) fp32.
        unit: the rectangle's rows and columns, which divide O and I.

    Returns:
        (O / rows, I / columns) fp32.
    """
    (rows, columns), (outputs, inputs) = unit, score.shape
    units = score.reshape(outputs // rows, rows, inputs // columns, columns)
    gone = units == -torch.inf
    return units.masked_fill(gone, 0.0).mean(dim=(1, 3)).masked_fill(gone.all(3).all(1), -torch.inf)


def of_units(values: Tensor, unit: tuple[int, int]) -> Tensor:
    """The way back: (O / rows, I / columns) -> (O, I), the rectangle's value for each of its weights."""
    rows, columns = unit
    return values.repeat_interleave(rows, 0).repeat_interleave(columns, 1)


def keep_units(score: Tensor, unit: tuple[int, int], sparsity: float) -> Tensor:
    """A mask in which rectangles of weights go or stay together, those with the lowest mean score first.

    Args:
        score: (O, I) fp32; see `unit_means`.
        unit: the rectangle's rows and columns, which divide O and I.
        sparsity: the share of rectangles that go, rounded to whole ones; of equal ones the last in flat order.

    Returns:
        (O, I) bool, True = keep.
    """
    means = unit_means(score, unit)
    return of_units(keep_largest(means, round(sparsity * means.numel())), unit)
