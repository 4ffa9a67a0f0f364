"""Rectangles of weights."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.pruning.pattern import Pattern, keep_units


@dataclass(frozen=True, kw_only=True)
class Blocks(Pattern, name="blocks"):
    """The (O, I) matrix is cut into blocks of `rows` x `columns` weights, which go or stay together.

    A block's score is the mean of its weights' scores. In a convolution I are the input channels times the kernel's
    positions, (C, kh, kw) in this order.

    Attributes:
        rows: outputs of a block; divides O.
        columns: inputs of a block; divides I.

    Source: Gray et al. 2017, the layout that block-sparse kernels compute with.
    """

    rows: int = 4
    columns: int = 4

    reference: ClassVar[Reference | None] = Reference(
        authors="Gray, Radford, Kingma",
        title="GPU Kernels for Block-Sparse Weights",
        year=2017,
        link="https://cdn.openai.com/blocksparse/blocksparsepaper.pdf",
    )

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or self.rows * self.columns < 2:
            raise CompressionError(
                f"rows={self.rows}, columns={self.columns} is no block; write 1 or more for both, two weights at least"
                " (single ones are the pattern unstructured)"
            )

    def unit(self, outputs: int, inputs: int) -> tuple[int, int]:
        """The block."""
        return self.rows, self.columns

    def check_layer(self, outputs: int, inputs: int) -> None:
        """Both sides of a block divide those of the matrix."""
        for name, size, whole, what in (
            ("rows", self.rows, outputs, "outputs"),
            ("columns", self.columns, inputs, "inputs"),
        ):
            if whole % size:
                raise CompressionError(
                    f"{name}={size} does not divide the {whole} {what} of a layer; ignore that layer or change {name}"
                )

    def columns_at_once(self, most: int) -> int:
        """Those of a block.

        Raises:
            CompressionError: no whole blocks fit.
        """
        if most % self.columns:
            raise CompressionError(f"{most} columns hold no whole blocks of columns={self.columns}; give a multiple of it")
        return self.columns

    def mask(self, score: Tensor, sparsity: float) -> Tensor:
        """(O, I) -> (O, I) bool with `round(sparsity * O * I / (rows * columns))` blocks False.

        Raises:
            CompressionError: a side of the block does not divide the matrix's.
        """
        self.check_layer(*score.shape)
        return keep_units(score, (self.rows, self.columns), sparsity)
