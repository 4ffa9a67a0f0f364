"""The (O, I) matrix inside each kind of module, and the ways back."""

from torch import Tensor, nn

from hf_compress._errors import CompressionError


def weight_matrix(module: nn.Module) -> Tensor:
    """The weight as an (O, I) matrix, to read; `as_stored` is the way back.

    Linear weights are (O, I) already; the `Conv1D` of transformers stores (I, O); convolutions fold their kernel into I, a
    copy where the memory format is channels-last.

    Raises:
        CompressionError: the module holds no such matrix.
    """
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        return module.weight
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.weight.flatten(1)
    if type(module).__name__ == "Conv1D" and isinstance(weight, Tensor):
        return weight.t()
    raise CompressionError(
        f"{type(module).__name__} has no (out, in) weight matrix to compress; target Linear, Conv1D or Conv2d modules"
    )


def as_stored(module: nn.Module, matrix: Tensor) -> Tensor:
    """(O, I) -> the shape in which the module stores its weight: the inverse of `weight_matrix`, for masks."""
    if type(module).__name__ == "Conv1D":
        return matrix.t()
    return matrix.reshape(module.weight.shape)  # type: ignore[union-attr, arg-type]


def num_inputs(module: nn.Module) -> int:
    """How many inputs lie side by side in a row of `input_rows`: those of a Linear, the input channels of a convolution's
    group.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return module.weight.shape[1]
    return weight_matrix(module).shape[-1]


def input_rows(module: nn.Module, matrix: Tensor) -> Tensor:
    """(O, I) -> (O * K, C): rows whose neighbours are neighbouring input channels; `from_input_rows` is the way back.

    Semi-structured kernels group the inputs of a matrix product, and a convolution is one product over its C input channels
    (of one group) for each of its K kernel positions. For modules without a kernel the matrix is such rows already.
    """
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return matrix
    channels = num_inputs(module)
    return matrix.unflatten(1, (channels, -1)).transpose(1, 2).reshape(-1, channels)


def from_input_rows(module: nn.Module, rows: Tensor) -> Tensor:
    """(O * K, C) -> (O, I): the inverse of `input_rows`."""
    if not isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return rows
    return rows.unflatten(0, (module.out_channels, -1)).transpose(1, 2).flatten(1)
