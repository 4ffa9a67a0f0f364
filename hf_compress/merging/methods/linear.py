"""The weighted average."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.merging.mathematics.weights import refuse_zero_sum
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands


@dataclass(frozen=True, kw_only=True)
class Linear(MergeMethod, name="linear"):
    """merged = sum_i w_i * t_i / sum_i w_i, or without the division when `normalize` is off.

    Attributes:
        normalize: divide by the sum of the weights, so that equal weights give the mean ("model soup").

    Source: Wortsman et al. 2022, equation 1 (uniform soup).
    """

    normalize: bool = True

    propagates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Wortsman, Ilharco, Gadre, Roelofs, Gontijo-Lopes, Morcos, Namkoong, Farhadi, Carmon, Kornblith, Schmidt",
        title="Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing"
        " inference time",
        year=2022,
        link="https://arxiv.org/abs/2203.05482",
        equation="equation 1",
    )

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """The sum must not be 0 where it divides."""
        if self.normalize:
            refuse_zero_sum(weights, name, "linear")

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """Any shape -> the same shape, fp32."""
        first, *rest = operands.tensors
        weights = operands.weights
        # In the recipe's order, in fp32, the sum of the weights too: the arithmetic of mergekit, so its bits as well.
        merged = first.to(torch.float32, copy=True).mul_(weights[0])
        scratch = torch.empty_like(merged)
        for tensor, weight in zip(rest, weights[1:], strict=True):
            merged.add_(scratch.copy_(tensor), alpha=weight)
        total = torch.tensor(weights, dtype=torch.float32).sum().item() if self.normalize else 1.0
        return merged if total == 1 else merged.div_(total)
