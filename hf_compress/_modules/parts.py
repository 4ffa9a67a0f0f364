"""A module's matrix in processes that each hold a part of it: who holds the others, and the way to the whole and back."""

from torch import Tensor, nn

from hf_compress._modules.matrix import as_matrix, as_stored
from hf_compress._modules.module_kind import kind_of
from hf_compress._sharding.across import ALONE, Across, Rows, Runs
from hf_compress._sharding.contract import shard, sharding_of, whole


def across_matrix(module: nn.Module) -> Across:
    """The processes that hold the other parts of a module's matrix.

    Raises:
        CompressionError: see `Sharding.across`.
    """
    weight: Tensor = module.weight  # type: ignore[assignment]
    sharding = sharding_of(weight)
    dimension, across = sharding.dimension(weight), sharding.across(weight)
    if dimension is None:
        return ALONE
    if sharding.flat:
        return Runs(across)
    kind = kind_of(module)
    in_rows = (dimension == 1) if kind is not None and kind.transposed else (dimension == 0)
    return across if in_rows else Rows(across)


def is_in_order(module: nn.Module, along_inputs: bool) -> bool:
    """Whether the parts of a matrix, one after the other, are its numbers in order.

    Args:
        module: with the matrix.
        along_inputs: in the order of its `channel_rows`, and cut between rows or groups of neighbours.
    """
    if not isinstance(across_matrix(module), Runs):
        return True
    kind = kind_of(module)
    return kind is not None and not kind.transposed and not (along_inputs and kind.has_kernel)


def whole_matrix(module: nn.Module, part: Tensor) -> Tensor:
    """(O, I) numbers, one per weight, of which every process has a part; every process must call it."""
    return as_matrix(module, whole(as_stored(module, part), like=module.weight))  # type: ignore[arg-type]


def part_of_matrix(module: nn.Module, full: Tensor) -> Tensor:
    """This process's part of (O, I) numbers, one per weight; nothing is communicated."""
    return as_matrix(module, shard(as_stored(module, full), like=module.weight))  # type: ignore[arg-type]
