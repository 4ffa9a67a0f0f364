"""Movement pruning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Reference
from hf_compress.pruning.criterion import ACCUMULATED, Criterion


@dataclass(frozen=True, kw_only=True)
class Movement(Criterion, name="movement"):
    """score = -sum_t w_t * dL/dw_t over the optimizer steps t so far: weights that move away from zero stay.

    The gradient is the one that the optimizer is given: of the whole accumulated batch, clipped where it is clipped. What
    is pruned stays pruned here, so that its score no longer matters; the paper lets it come back.

    Source: Sanh et al. 2020, section 3 (hard movement pruning), up to the factor of a learning rate.
    """

    accumulates: ClassVar[bool] = True
    reference: ClassVar[Reference | None] = Reference(
        authors="Sanh, Wolf, Rush",
        title="Movement Pruning: Adaptive Sparsity by Fine-Tuning",
        year=2020,
        link="https://arxiv.org/abs/2005.07683",
        equation="section 3",
    )

    def accumulate(self, weight: Tensor, gradient: Tensor, total: Tensor | None) -> Tensor:
        """The total without weight * gradient."""
        total = torch.zeros(weight.shape, device=weight.device) if total is None else total
        return total.addcmul_(weight.detach().float(), gradient.detach().float(), value=-1)

    def score(self, weight: Tensor, stats: Mapping[str, Tensor]) -> Tensor:
        """(O, I) fp32: the total."""
        return stats[ACCUMULATED].float()
