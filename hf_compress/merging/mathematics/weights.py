"""Checks of the members' weights that several methods share."""

from hf_compress._errors import CompressionError


def refuse_weights(weights: tuple[float, ...], name: str, method: str, instead: str) -> None:
    """Refuse weights for a method that has no place for them, rather than ignore them.

    Args:
        weights: of the members, for the tensor `name`; all 1 means that none were set.
        name: of the tensor.
        method: its name, for the error.
        instead: what decides in place of the weights, and how to set it.

    Raises:
        CompressionError: a weight is not 1.
    """
    if any(weight != 1 for weight in weights):
        raise CompressionError(f"{name}: {method} has no weights, and {list(weights)} were given; {instead}")


def refuse_zero_sum(
    weights: tuple[float, ...], name: str, method: str, way_out: str = "change one, or set normalize: false"
) -> None:
    """Refuse weights that cannot be divided by their sum.

    Raises:
        CompressionError: their sum is 0 up to rounding.
    """
    if abs(sum(weights)) < 1e-12:
        raise CompressionError(
            f"{name}: the weights {list(weights)} sum to 0, and {method} divides by their sum; {way_out}"
        )
