"""The contract of a kind of module: where its (O, I) matrix is."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from hf_compress._registry import Strategy


@dataclass(frozen=True, kw_only=True)
class ModuleKind(Strategy, kind="kind of module", package="hf_compress._modules.kinds"):
    """What the weight of a class of modules is, for everybody who compresses, merges or measures it.

    A module is of the kind that names the first class in its method resolution order, so a subclass may have a kind of its
    own. Everything here is about shapes: (O, I) stands for the matrix, "stored" for the module's own shape.

    Attributes:
        classes: the modules of this kind, with their subclasses.
        multiplies: whether inputs are rows of numbers that the matrix multiplies; an embedding is given ids.
        transposed: whether it is stored as (I, O).
        has_kernel: whether a row of the matrix is a row of input channels for each position of a kernel.
    """

    classes: ClassVar[tuple[type[nn.Module], ...]]
    multiplies: ClassVar[bool] = True
    transposed: ClassVar[bool] = False
    has_kernel: ClassVar[bool] = False

    def matrix(self, stored: Tensor) -> Tensor:
        """(O, I), to read: a view where the memory format allows one."""
        return stored.t() if self.transposed else stored.flatten(1)

    def stored(self, matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(O, I) -> the module's own shape: the inverse of `matrix`, for masks and new weights."""
        return matrix.t() if self.transposed else matrix.reshape(shape)

    def num_channels(self, shape: tuple[int, ...]) -> int:
        """How many inputs lie side by side in a row of `channel_rows`; of a stored shape."""
        return shape[0] if self.transposed else shape[1]

    def channel_rows(self, matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(O, I) -> rows whose neighbours are neighbouring input channels; the matrix itself has such, without a kernel."""
        return matrix

    def from_channel_rows(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `channel_rows`."""
        return rows

    def input_rows(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """(..., I): what the columns of the matrix are multiplied with; inputs as the module takes them."""
        return inputs


def kind_of(module: nn.Module) -> ModuleKind | None:
    """What kind of module it is; None for one without a matrix that the library knows."""
    kinds = ModuleKind.members()
    return next((kind for base in type(module).__mro__ for kind in kinds if base in kind.classes), None)


def is_transposed(module: nn.Module) -> bool:
    """It multiplies its inputs and stores its matrix as (I, O): PEFT's `fan_in_fan_out`."""
    kind = kind_of(module)
    return kind is not None and kind.multiplies and kind.transposed


def takes_ids(module: nn.Module) -> bool:
    """It looks up rows by their numbers and multiplies nothing: an embedding."""
    kind = kind_of(module)
    return kind is not None and not kind.multiplies


def in_groups(module: nn.Module) -> bool:
    """A convolution whose outputs do not all read the same channels, so that its matrix is several side by side."""
    kind = kind_of(module)
    return kind is not None and kind.has_kernel and getattr(module, "groups", 1) > 1


def multiplying_classes() -> tuple[str, ...]:
    """The names of the classes whose matrix multiplies rows, without kernels: what a technique targets by default."""
    kinds = ModuleKind.available().values()
    chosen = [kind for kind in kinds if kind.multiplies and not kind.has_kernel]
    return tuple(sorted(cls.__name__ for kind in chosen for cls in kind.classes))
