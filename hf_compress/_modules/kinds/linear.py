"""Linear: stored as its matrix."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from hf_compress._modules.module_kind import ModuleKind


@dataclass(frozen=True, kw_only=True)
class Linear(ModuleKind, name="linear"):
    """y = x W^T + b, W (O, I)."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (nn.Linear,)

    def matrix(self, stored: Tensor) -> Tensor:
        """The weight itself."""
        return stored

    def stored(self, matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The matrix itself."""
        return matrix
