"""Connection sensitivity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class SNIP(Criterion, name="snip"):
    """score = |w * dL/dw|, with the loss L of all examples together: the derivative with respect to the weight's mask.

    What an example loses by a weight another may gain. The paper divides by the sum over the network, which changes no
    order, and has one threshold for all layers (the allocation global).

    Source: Lee et al. 2019, section 4.1.
    """

    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    reference: ClassVar[Reference | None] = Reference(
        authors="Lee, Ajanthan, Torr",
        title="SNIP: Single-shot Network Pruning based on Connection Sensitivity",
        year=2019,
        link="https://arxiv.org/abs/1810.02340",
        equation="section 4.1",
    )

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32."""
        return (weight.detach().float() * stats["gradient"]).abs()
