"""Spherical linear interpolation between two models."""

import math
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


@dataclass(frozen=True, kw_only=True)
class Slerp(MergeMethod, name="slerp"):
    """merged = sin((1-t) W)/sin(W) * a + sin(t W)/sin(W) * b, where W is the angle between the flat tensors a and b.

    a is the base where there is one and one member, else the first of two members; a base and two members are refused.
    Where the two are almost parallel or opposed, or one is zero, there is no W to divide by and the straight line
    (1-t) a + t b is taken.

    Attributes:
        t: 0 gives a, 1 gives b.
        compat: "mergekit" draws the line at |cos W| > 0.9995 (paper: only where sin W is lost in rounding, 1e-6), and takes
            lengths up to 1e-8 as 1, so that a zero tensor counts as orthogonal: b's factor is then sin(t pi/2), not t.

    Source: Shoemake 1985, equation for slerp, on the flattened tensor.
    """

    t: float = 0.5
    compat: Compat = "paper"

    num_members: ClassVar[tuple[int, int | None]] = (1, 2)
    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Shoemake",
        title="Animating rotation with quaternion curves",
        year=1985,
        link="https://doi.org/10.1145/325165.325242",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.t <= 1:
            raise CompressionError(f"t={self.t!r} lies outside [0, 1]; 0 is the first model, 1 the second")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "slerp", "set t, or use nuslerp, which goes by weights")

    def survey(self, operands: Operands) -> tuple[float, float]:
        """The factors of a and b."""
        dot = square_a = square_b = 0.0
        for chunk in operands.chunks():
            a, b = (tensor.double() for tensor in _pair(chunk))
            dot += torch.dot(a, b).item()
            square_a += torch.dot(a, a).item()
            square_b += torch.dot(b, b).item()
        length_a, length_b = math.sqrt(square_a), math.sqrt(square_b)
        differs = differences(self.compat)
        if differs.floors_divisors:
            length_a, length_b = (length if length > 1e-8 else 1.0 for length in (length_a, length_b))
        length = length_a * length_b
        cosine = max(-1.0, min(1.0, dot / length)) if length > 0 else 1.0
        straight = abs(cosine) > 0.9995 if differs.straightens_elsewhere else 1 - abs(cosine) < 1e-6
        if straight:
            return 1 - self.t, self.t
        angle = math.acos(cosine)
        return math.sin((1 - self.t) * angle) / math.sin(angle), math.sin(self.t * angle) / math.sin(angle)

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        a, b = _pair(operands)
        return a.to(torch.float32, copy=True).mul_(survey[0]).add_(b.float().mul(survey[1]))


def _pair(operands: Operands) -> tuple[Tensor, Tensor]:
    """The two ends, whichever way they were given."""
    tensors = operands.tensors
    if len(tensors) == 2:
        if operands.base is not None:
            raise CompressionError(
                f"{operands.name}: slerp has two ends, and a base and two members are three models; leave the base out, or"
                " use nuslerp, which goes between task vectors"
            )
        return tensors[0], tensors[1]
    if operands.base is None:
        raise CompressionError(
            "slerp goes from one model to another, and one member is given; add a base or a second member"
        )
    return operands.base, tensors[0]
