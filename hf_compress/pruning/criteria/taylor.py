"""First-order Taylor expansion of the loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class Taylor(Criterion, name="taylor"):
    """score = 1/N sum_n |w * dL_n/dw|: by how much each example's loss changes, to first order, without the weight.

    Absolute per example, so that changes of different signs do not cancel; L_n is -log p of the true label (of a token
    model the sum over the example's tokens).

    Source: Molchanov et al. 2017, section 2.2, of single weights in the place of feature maps.
    """

    needs: ClassVar[tuple[str, ...]] = ("gradient_size",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Molchanov, Tyree, Karras, Aila, Kautz",
        title="Pruning Convolutional Neural Networks for Resource Efficient Inference",
        year=2017,
        link="https://arxiv.org/abs/1611.06440",
        equation="section 2.2",
    )

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32."""
        return weight.detach().float().abs() * stats["gradient_size"]
