"""The (O, I) matrix inside a module, and the ways back; what each kind does is in `kinds/`.

Where processes hold parts of a weight, the functions that change shapes take the whole matrix or this process's part.
"""

import math

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.module_kind import ModuleKind, kind_of
from hf_compress._sharding.contract import full_shape, local


def weight_matrix(module: nn.Module) -> Tensor:
    """The weight as an (O, I) matrix, to read; `as_stored` is the way back.

    Raises:
        CompressionError: the module has none.
    """
    return _kind(module).matrix(module.weight)  # type: ignore[arg-type]


def own_matrix(module: nn.Module) -> Tensor:
    """This process's part of the matrix, to read: all of it where nothing is sharded."""
    return _kind(module).matrix(local(module.weight))  # type: ignore[arg-type]


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """(O, I) of the whole matrix.

    Raises:
        CompressionError: as `weight_matrix`.
    """
    kind = _kind(module)
    outputs, inputs = kind.matrix(torch.empty(_shape(module), device="meta")).shape
    return outputs, inputs


def layer_shape(module: nn.Module) -> tuple[int, ...]:
    """(O, I) of the whole matrix; of a convolution (O, C, kernel...)."""
    outputs, inputs = matrix_shape(module)
    return (outputs, num_channels(module), *_shape(module)[2:]) if _kind(module).has_kernel else (outputs, inputs)


def matrix_size(module: nn.Module) -> int:
    """How many weights the whole matrix has."""
    return math.prod(matrix_shape(module))


def as_matrix(module: nn.Module, stored: Tensor) -> Tensor:
    """Numbers in the shape in which the module stores its weight, as (O, I): the inverse of `as_stored`."""
    return _kind(module).matrix(stored)


def as_stored(module: nn.Module, matrix: Tensor) -> Tensor:
    """(O, I) -> the shape in which the module stores its weight: the inverse of `weight_matrix`, for masks."""
    return _kind(module).stored(matrix, _shape(module, matrix))


def num_channels(module: nn.Module) -> int:
    """How many inputs lie side by side in a row of `channel_rows`: those of a Linear, the input channels of a convolution's
    group.
    """
    return _kind(module).num_channels(_shape(module))


def channel_rows(module: nn.Module, matrix: Tensor) -> Tensor:
    """(O, I) -> (O * K, C): rows whose neighbours are neighbouring input channels; `from_channel_rows` is the way back."""
    return _kind(module).channel_rows(matrix, _shape(module, matrix))


def from_channel_rows(module: nn.Module, rows: Tensor) -> Tensor:
    """(O * K, C) -> (O, I): the inverse of `channel_rows`."""
    return _kind(module).from_channel_rows(rows, _shape(module, rows))


def _kind(module: nn.Module) -> ModuleKind:
    kind = kind_of(module)
    if kind is None:
        raise CompressionError(
            f"{type(module).__name__} has no (out, in) weight matrix to compress; target Linear, Conv1D, Conv2d,"
            " Embedding or transformers' experts modules"
        )
    return kind


def _shape(module: nn.Module, given: Tensor | None = None) -> tuple[int, ...]:
    """The stored shape: of the whole weight, or of this process's part where `given` is as large as that."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    whole = full_shape(weight)
    return tuple(whole if given is None or given.numel() == whole.numel() else local(weight).shape)
