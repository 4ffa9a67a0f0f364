"""The average weighted by how much each model's predictions depend on each parameter."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Fisher(MergeMethod, name="fisher"):
    """merged = sum_i w_i * F_i * t_i / sum_i w_i * F_i, element by element; F_i is member i's diagonal Fisher information.

    It is the mode of the product of the Gaussians N(t_i, (w_i F_i)^-1). Where that sum is 0 (embeddings of tokens that no
    example held), and for tensors without a Fisher (buffers), the weighted mean sum_i w_i * t_i / sum_i w_i is taken.

    Fishers are used as they are: a member whose examples are harder has larger ones and weighs more. `floor` is in the same
    unit, squared nats per squared parameter.

    Attributes:
        floor: smaller values of F_i count as this much.

    Source: Matena and Raffel 2022, the closed form for diagonal Fishers; F as `collect_fisher` estimates it.
    """

    floor: float = 0.0

    needs: ClassVar[tuple[str, ...]] = ("fisher",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Matena, Raffel",
        title="Merging Models with Fisher-Weighted Averaging",
        year=2022,
        link="https://arxiv.org/abs/2111.09832",
        equation="diagonal Fisher merging",
    )

    def __post_init__(self) -> None:
        if not self.floor >= 0:
            raise CompressionError(f"floor={self.floor!r} is negative; Fisher information is not, so write 0 or more")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """A precision is not negative, and something must be left to divide by."""
        if min(weights) < 0 or sum(weights) < 1e-12:
            raise CompressionError(
                f"{name}: fisher multiplies precisions by the weights {list(weights)}; write weights >= 0, not all 0"
            )

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        tensors = [tensor.float() for tensor in operands.tensors]
        total = sum(operands.weights)
        mean = torch.zeros_like(tensors[0])
        for tensor, weight in zip(tensors, operands.weights, strict=True):
            mean.add_(tensor * (weight / total))
        if "fisher" not in operands.statistics:
            return mean
        fishers = [fisher.float().clamp(min=self.floor) for fisher in operands.statistics["fisher"]]
        for member, fisher in zip(operands.members, operands.statistics["fisher"], strict=True):
            if bool((fisher < 0).any()):
                raise CompressionError(
                    f"{operands.name}: the Fisher of {member} has negative values; collect it with collect_fisher"
                )
        # Fishers of 1e-30 occur: their ratios are well within fp32 where their products with a parameter are not.
        largest = torch.stack(fishers).amax(0)
        divisor = torch.where(largest > 0, largest, 1)
        merged, precision = torch.zeros_like(mean), torch.zeros_like(mean)
        for tensor, weight, fisher in zip(tensors, operands.weights, fishers, strict=True):
            share = fisher.div_(divisor).mul_(weight)
            merged.add_(tensor * share)
            precision.add_(share)
        return torch.where(precision > 0, merged / precision, mean)
