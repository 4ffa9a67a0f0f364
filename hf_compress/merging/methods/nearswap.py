"""NearSwap: the member's weight where the two models nearly agree, the base's elsewhere."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.weights import refuse_weights
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands

_FLOOR = 1e-6


@dataclass(frozen=True, kw_only=True)
class NearSwap(MergeMethod, name="nearswap"):
    """merged = base + w * (member - base) with w = min(t / |member - base|, 1), for one member.

    So a weight that differs by at most t is the member's, bit for bit, and any other moves by t towards the member.

    Attributes:
        t: the largest change of a weight, in the weights' own unit, >= 0; the author's model uses 1e-4.
        compat: "mergekit" divides by max(|member - base|, 1e-6), so with t < 1e-6 differences below 1e-6 are scaled by
            t / 1e-6 instead of being swapped; with t >= 1e-6 there is no difference.

    Source: alchemonaut 2024, model card, "NearSwap algorithm".
    """

    t: float = 1e-4
    compat: Compat = "paper"

    needs_base: ClassVar[bool] = True
    num_members: ClassVar[tuple[int, int | None]] = (1, 1)
    reference: ClassVar[Reference | None] = Reference(
        authors="alchemonaut",
        title="QuartetAnemoi-70B-t0.0001 (model card)",
        year=2024,
        link="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
        equation="NearSwap algorithm",
    )

    def __post_init__(self) -> None:
        if not self.t >= 0:
            raise CompressionError(f"t={self.t!r} is negative; it is the largest change of a weight, 0 keeps the base")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "nearswap", "set t instead")

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        base, member = operands.base, operands.tensors[0]
        assert base is not None, operands.name
        delta = operands.delta(0)
        distance = delta.abs()
        step = delta.clamp(-self.t, self.t)
        if differences(self.compat).floors_divisors and self.t < _FLOOR:
            step = torch.where(distance < _FLOOR, delta.mul_(self.t / _FLOOR), step)
            return step.add_(base)
        return torch.where(distance <= self.t, member.float(), step.add_(base))
