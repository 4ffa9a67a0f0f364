"""Model Stock: how far from the base towards the average, told by the angle between the members."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.mathematics.inner_products import Along, Lines, combine, gram
from hf_compress.merging.mathematics.weights import refuse_weights
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class ModelStock(MergeMethod, name="model_stock"):
    """merged = (1 - t) * base + t * mean_i(t_i), with t = k cos(A) / ((k - 1) cos(A) + 1) for k members.

    A is the angle between the task vectors of two members, per tensor; of more than two, the mean of the angles of all
    pairs. t is an interpolation: in the paper's geometry (base and members stand at a right angle to each other, seen from
    the centre) cos(A) lies in [0, 1]. An angle beyond 90 degrees, of which the paper says nothing, is taken as 90, so t = 0
    and the base stays. A member whose tensor equals the base's has no angle and counts as orthogonal.

    Attributes:
        filter_wise: an angle and a t per index of the first dimension (a row of a matrix, a filter of a convolution)
            instead of per tensor.
        compat: "mergekit" leaves t unclamped, so opposed members push beyond the base (t = 0 only where |(k - 1) cos(A) +
            1| < 1e-6); averages the cosines instead of the angles; divides by max(|d_i| |d_j|, 1e-6), which takes short
            task vectors for more orthogonal than they are; and with `filter_wise` cuts along the last dimension, which
            differs for more than two dimensions.

    Source: Jang et al. 2024, the interpolation ratio of N models.
    """

    filter_wise: bool = False
    compat: Compat = "paper"

    needs_base: ClassVar[bool] = True
    num_members: ClassVar[tuple[int, int | None]] = (2, None)
    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Jang, Yun, Han",
        title="Model Stock: all we need is just a few fine-tuned models",
        year=2024,
        link="https://arxiv.org/abs/2403.19522",
        equation="interpolation ratio",
    )

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """There is no place for weights."""
        refuse_weights(weights, name, "model_stock", "it finds its ratio from the angles; leave the weights out")

    def survey(self, operands: Operands) -> tuple[Tensor, Lines]:
        """The factors of the task vectors, t / k each, (M, number of lines)."""
        differs = differences(self.compat)
        filters: Along = "rows" if differs.cuts_last_dimension else "filters"
        lines = Lines.cut(tuple(operands.tensors[0].shape), filters if self.filter_wise else "tensor")
        inner = gram(operands, lines, from_base=True)
        count = len(operands.tensors)
        lengths = inner.diagonal(dim1=0, dim2=1).T.sqrt()
        cosines = []
        for i in range(count):
            for j in range(i + 1, count):
                product = lengths[i] * lengths[j]
                if differs.floors_divisors:
                    product = product.clamp(min=1e-6)
                cosines.append(torch.where(product > 0, inner[i, j] / product, 0.0).clamp(-1, 1))
        pairs = torch.stack(cosines)
        cosine = pairs.mean(0) if differs.averages_cosines else pairs.acos().mean(0).cos()
        if not differs.leaves_ratio_unclamped:
            cosine = cosine.clamp(min=0)
        below = 1 + (count - 1) * cosine
        t = torch.where(below.abs() < 1e-6, 0.0, count * cosine / below)
        return (t / count).expand(count, -1), lines

    def merge(self, operands: Operands, survey: tuple[Tensor, Lines]) -> Tensor:
        """Any shape -> the same shape, fp32."""
        return combine(operands, *survey, from_base=True)
