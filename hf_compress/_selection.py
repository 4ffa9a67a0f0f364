"""The k-th largest of many numbers that are never in memory at once."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

_DIGITS = ((20, 11), (10, 10), (0, 10))
"""(shift, bits), from the top: the 31 bits of a non-negative float, whose bit patterns are ordered like the numbers."""


def kth_largest(parts: Callable[[], Iterable[Tensor]], k: int) -> tuple[float, int]:
    """Exact, by counting the bit patterns digit by digit; each digit reads all parts once.

    Args:
        parts: gives the numbers anew, in any chunks: fp32, not negative.
        k: 1 ... number of numbers.

    Returns:
        The k-th largest value, and how many of the numbers equal to it are among the k largest.
    """
    prefix, missing = 0, k
    for shift, bits in _DIGITS:
        counts = torch.zeros(2**bits, dtype=torch.int64)
        for part in parts():
            pattern = part.reshape(-1).view(torch.int32)
            pattern = pattern[(pattern >> (shift + bits)) == (prefix >> (shift + bits))]
            counts += torch.bincount((pattern >> shift) & (2**bits - 1), minlength=2**bits).cpu()
        at_least = counts.flip(0).cumsum(0).flip(0)
        digit = int((at_least >= missing).nonzero().max())
        missing -= int(at_least[digit] - counts[digit])
        prefix |= digit << shift
    return torch.tensor(prefix, dtype=torch.int32).view(torch.float32).item(), missing
