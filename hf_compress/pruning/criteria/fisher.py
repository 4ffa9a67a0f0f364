"""Optimal brain damage, with the Fisher diagonal for the Hessian's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class FisherSaliency(Criterion, name="fisher"):
    """score = F * w^2 / 2: by how much the loss rises, to second order, without the weight.

    At a minimum the first order vanishes, and the Fisher information's diagonal F stands for the Hessian's.

    Source: LeCun et al. 1990, the saliency of a parameter.
    """

    needs: ClassVar[tuple[str, ...]] = ("fisher",)
    reference: ClassVar[Reference | None] = Reference(
        authors="LeCun, Denker, Solla",
        title="Optimal Brain Damage",
        year=1990,
        link="https://papers.nips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html",
        equation="saliency",
    )

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) -> (O, I) fp32."""
        return weight.detach().float().square() * stats["fisher"] / 2
