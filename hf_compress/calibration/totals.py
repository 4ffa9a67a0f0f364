"""Running totals of one statistic, by layer or parameter, and their sum over processes."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_compress import _distributed
from hf_compress._errors import CompressionError


@dataclass(kw_only=True)
class Totals:
    """What one statistic has seen so far.

    Attributes:
        statistic: whose totals.
        sums: layer or parameter name -> running total; only of those that something has reached.
        counts: by the same names, how many rows or examples.
    """

    statistic: Any
    sums: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add_up(self, device: torch.device) -> None:
        """Take in the totals of every other process, in the order of their ranks, so that all end with the same bits.

        Args:
            device: where this process computes; what it has not seen itself arrives there.
        """
        known = {name: (tuple(total.shape), total.dtype, self.counts[name]) for name, total in self.sums.items()}
        everyone = _distributed.gather(known)
        if len(everyone) == 1:
            return
        own, _ = _distributed.membership()
        for name in dict.fromkeys(name for one in everyone for name in one):
            summed: Tensor | None = None
            for rank, one in enumerate(everyone):
                if name not in one:
                    continue
                shape, dtype, _ = one[name]
                part = self.sums[name] if rank == own else torch.empty(shape, dtype=dtype, device=device)
                _distributed.broadcast(part, rank)
                # The own total is still needed when it is this process's turn to send, and `add` may change the first.
                summed = part.clone() if summed is None else self.statistic.add(summed, part)
            assert summed is not None
            self.sums[name] = summed
            self.counts[name] = sum(one[name][2] for one in everyone if name in one)

    def finish(self) -> dict[str, Tensor]:
        """The statistic by name; what nothing has reached is left out.

        Raises:
            CompressionError: a total is not finite.
        """
        for name, total in self.sums.items():
            if not bool(torch.isfinite(total).all()):
                raise CompressionError(
                    f"the statistic {self.statistic.name} of {name} holds NaN or infinity; look for it in the model's"
                    " weights and inputs"
                )
        return {name: self.statistic.finish(total, self.counts[name]) for name, total in self.sums.items()}
