"""What metrics share that are functions of sums over rows."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import ndarray


def share(part: "ndarray", whole: "ndarray") -> "ndarray":
    """The quotient, 0 where the whole is 0."""
    import numpy

    return numpy.divide(part, whole, out=numpy.zeros_like(part, dtype=numpy.float64), where=whole != 0)


def values(rows: "Sequence[Sequence[float]] | ndarray") -> "ndarray":
    """(N, 1 + K): a 1 for the row, and K numbers of each."""
    import numpy

    given = numpy.asarray(rows, dtype=numpy.float64)
    return numpy.concatenate([numpy.ones((len(given), 1)), given.reshape(len(given), -1)], axis=1)


def means(sums: "ndarray", keys: Sequence[str]) -> "dict[str, ndarray]":
    """The means of what `values` summed, by key."""
    return {key: share(sums[:, 1 + place], sums[:, 0]) for place, key in enumerate(keys)}


def exact_means(rows: Sequence[Sequence[float]], keys: Sequence[str]) -> dict[str, float]:
    """The means of the K numbers of each row, by key, rounded once."""
    return {key: math.fsum(column) / len(column) for key, column in zip(keys, zip(*rows, strict=True), strict=True)}
