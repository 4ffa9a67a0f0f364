"""The members' logits are added, each with a step size."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner, log_probabilities
from hf_compress.ensembling.fitting.step_size import fit_step_size
from hf_compress.ensembling.fusion import Fused, Fusion, Said

_MOST = 1e6
"""Logits times a step size have to be numbers in fp32."""


@dataclass(frozen=True, kw_only=True)
class ResidualFusion(Fusion, name="residual"):
    """log p = log softmax(sum_k eta_k f_k(x)), for members that were trained on what those before them leave over.

    Attributes:
        step_size: eta of every member; None: member by member, the one that makes the validation loss of the sum so far
            smallest.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Friedman",
        title="Greedy Function Approximation: A Gradient Boosting Machine",
        year=2001,
        link="https://doi.org/10.1214/aos/1013203451",
        equation="algorithm 1",
    )
    ensemble: ClassVar[str] = "ResidualEnsemble"

    step_size: float | None = None

    def __post_init__(self) -> None:
        if self.step_size is not None and not (math.isfinite(self.step_size) and 0 < self.step_size <= _MOST):
            raise CompressionError(
                f"step_size={self.step_size} must be a number above 0, and at most {_MOST:g}; left out, it is learned"
            )

    def fit(self, said: Said) -> Fused:
        """Step sizes in the order of members; each that is learned leaves the loss as it was, or smaller."""
        if self.step_size is not None:
            sizes = [self.step_size] * len(said.logits)
            return Fused(options={"step_sizes": sizes}, facts={"step_sizes": sizes})
        total, sizes, losses = torch.zeros_like(said.logits[0]), [], []
        for own in said.logits:
            found = fit_step_size(total, own, said.labels)
            total = total + found.eta * own
            sizes.append(found.eta)
            losses.append(found.loss)
        steps = ", ".join(
            f"{name} {size:.4g} ({loss:.4f})" for name, size, loss in zip(said.names, sizes, losses, strict=True)
        )
        note = f"Step sizes fitted on validation, with the log-loss of the sum so far there: {steps}."
        idle = [name for name, size in zip(said.names, sizes, strict=True) if size == 0]
        more = [f"Of no use there (step size 0), and still asked: {', '.join(idle)}."] if idle else []
        return Fused(
            options={"step_sizes": sizes},
            learned=("step sizes",),
            notes=(note, *more),
            facts={"step_sizes": sizes, "nll": losses},
        )

    def answer(self, fused: Fused, logits: Tensor, combiner: Combiner, weights: Tensor | None) -> Tensor:
        """(M, N, C) -> (N, C)."""
        sizes = torch.tensor(fused.options["step_sizes"], dtype=logits.dtype)
        return log_probabilities((logits * sizes.view(-1, 1, 1)).sum(0))
