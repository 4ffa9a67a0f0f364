"""Convolutions: a matrix product for every position, over input channels times kernel positions."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

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

    def input_rows(self, module: Any, inputs: Tensor) -> Tensor:
        """(B, C, positions...) -> (B, output positions..., C * K): the patches that meet the kernel, of one group.

        Args:
            module: the convolution.
            inputs: with or without the batch dimension.
        """
        dims = len(module.kernel_size)
        if inputs.dim() == dims + 1:
            inputs = inputs[None]
        sides = [side for place in reversed(range(dims)) for side in _padding(module, place)]
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        patches = functional.pad(inputs, sides, mode=mode) if any(sides) else inputs
        for place in range(dims):
            span = (module.kernel_size[place] - 1) * module.dilation[place] + 1
            patches = patches.unfold(2 + place, span, module.stride[place])[..., :: module.dilation[place]]
        # (B, C, positions..., kernel...) with the kernel's dimensions in their order.
        order = [0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims)]
        return patches.permute(order).flatten(1 + dims)


def _padding(module: Any, place: int) -> tuple[int, int]:
    """How many positions are added before and after one dimension."""
    if module.padding == "valid":
        return 0, 0
    if isinstance(module.padding, str):  # "same": an odd one goes to the end
        total = module.dilation[place] * (module.kernel_size[place] - 1)
        return total // 2, total - total // 2
    return int(module.padding[place]), int(module.padding[place])
