"""NuSLERP: spherical interpolation by weights, of models or of task vectors, whole or line by line."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.inner_products import Along, Lines, combine, gram
from hf_compress.merging.mathematics.sphere import arc
from hf_compress.merging.mathematics.weights import refuse_zero_sum
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class NuSlerp(MergeMethod, name="nuslerp"):
    """merged = sin((1-t) W)/sin(W) * a + sin(t W)/sin(W) * b, with t = w_b / (w_a + w_b) and W the angle between a and b.

    a and b are the two members' tensors or, with a base, their task vectors, whose interpolation is added to the base.
    With `along` other than "tensor" every row or column has its own angle. Where a and b are parallel or opposed, or one
    of them is zero, the straight line (1-t) a + t b is taken.

    Attributes:
        along: "tensor": the flat tensor is one vector (mergekit's `nuslerp_flatten: true`); "rows": each run along the
            last dimension, the weights of one output (`nuslerp_flatten: false`); "columns": each run along the first
            dimension, the weights of one input (`nuslerp_row_wise: true`). The same for tensors of one dimension.
        compat: "mergekit" takes lengths below 1e-7 as 1e-7, so a zero vector counts as orthogonal (b's factor is
            sin(t pi/2), not t); draws the line only at 1 - cos(W)^2 <= 1e-16 (here 1 - |cos W| < 1e-6); and takes t = 0.5
            where the weights sum to 0 (refused here).

    Source: Shoemake 1985 for the formula; Goddard 2024 (mergekit) for the weights, task vectors and lines.
    """

    along: Along = "tensor"
    compat: Compat = "paper"

    num_members: ClassVar[tuple[int, int | None]] = (2, 2)
    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Shoemake",
        title="Animating rotation with quaternion curves",
        year=1985,
        link="https://doi.org/10.1145/325165.325242",
    )

    def __post_init__(self) -> None:
        Lines.cut((1, 1), self.along)

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """The sum must not be 0, for it divides."""
        if not differences(self.compat).takes_zero_sum:
            refuse_zero_sum(weights, name, "nuslerp", "change one")

    def survey(self, operands: Operands) -> tuple[Tensor, Lines]:
        """The factors of a and b, (2, number of lines)."""
        lines = Lines.cut(tuple(operands.tensors[0].shape), self.along)
        inner = gram(operands, lines, from_base=operands.base is not None)
        lengths = torch.stack([inner[0, 0], inner[1, 1]]).sqrt()
        total = sum(operands.weights)
        differs = differences(self.compat)
        product = (lengths.clamp(min=1e-7) if differs.floors_divisors else lengths).prod(0)
        cosine = torch.where(product > 0, inner[0, 1] / product, 1.0).clamp(-1, 1)
        straight = 1 - cosine.square() <= 1e-16 if differs.straightens_elsewhere else 1 - cosine.abs() < 1e-6
        t = 0.5 if differs.takes_zero_sum and abs(total) < 1e-6 else operands.weights[1] / total
        return arc(cosine, straight, t), lines

    def merge(self, operands: Operands, survey: tuple[Tensor, Lines]) -> Tensor:
        """Any shape -> the same shape, fp32."""
        return combine(operands, *survey, from_base=operands.base is not None)
