"""Convolutions: a matrix product for every position, over input channels times kernel positions."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from hf_compress._modules.module_kind import ModuleKind


@dataclass(frozen=True, kw_only=True)
class Convolution(ModuleKind, name="convolution"):
    """W (O, C, kernel...), C the input channels of one group: the matrix is (O, C * K), K the positions of the kernel.

    The matrix is a copy where the memory format is channels-last.
    """

    classes: ClassVar[tuple[type[nn.Module], ...]] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    has_kernel: ClassVar[bool] = True

    def channel_rows(self, matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(O, C * K) -> (O * K, C).

        Semi-structured kernels group the inputs of a matrix product, and a convolution is one product over its C input
        channels for each of its K kernel positions.
        """
        return matrix.unflatten(1, (shape[1], -1)).transpose(1, 2).reshape(-1, shape[1])

    def from_channel_rows(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(O * K, C) -> (O, C * K)."""
        return rows.unflatten(0, (shape[0], -1)).transpose(1, 2).flatten(1)
