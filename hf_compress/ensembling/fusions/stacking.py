"""All members are asked, and a classifier makes one answer of theirs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.fitting.stacking import FittedStacking, fit_stacking
from hf_compress.ensembling.fusion import Fused, Fusion, Said


@dataclass(frozen=True, kw_only=True)
class StackingFusion(Fusion, name="stacking"):
    """log p = log softmax(W x + b), x the members' log-probabilities.

    Attributes:
        strength: of the penalty on W.
        folds: how many parts of the rows are left out in turn, to say what the classifier is worth on rows that did not
            teach it; 0 = that is not looked at.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Wolpert", title="Stacked Generalization", year=1992, link="https://doi.org/10.1016/S0893-6080(05)80023-1"
    )
    ensemble: ClassVar[str] = "Stacking"

    strength: float = 0.03
    folds: int = 5

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise CompressionError(f"strength={self.strength} must be above 0; a small one such as 1e-6 hardly counts")
        if self.folds < 0 or self.folds == 1:
            raise CompressionError(f"folds={self.folds}: one part leaves no other; write 2 or more, or 0")

    def check_rows(self, num_rows: int) -> None:
        """Every fold has a row."""
        if self.folds > num_rows:
            raise CompressionError(
                f"folds={self.folds} of {num_rows} validation rows leaves some empty; write fewer, or 0 for none"
            )

    def fit(self, said: Said) -> Fused:
        """W and b, of all rows; the log-loss is also measured fold by fold."""
        self.check_rows(len(said.labels))
        folds = None
        if self.folds:
            order = torch.randperm(len(said.labels), generator=torch.Generator().manual_seed(said.seed))
            folds = order % self.folds
        found = fit_stacking(said.logits, said.labels, strength=self.strength, folds=folds)
        beside = "" if found.nll_held_out is None else f", of rows of folds that did not teach it {found.nll_held_out:.4f}"
        return Fused(
            options={"weight": found.weight, "bias": found.bias},
            learned=("stacking classifier",),
            notes=(f"Stacking classifier fitted on validation, its log-loss there: {found.nll:.4f}{beside}.",),
            facts={"nll": found.nll, "nll_held_out": found.nll_held_out, "accuracy_held_out": found.accuracy_held_out},
        )

    def answer(self, fused: Fused, logits: Tensor, combiner: Combiner, weights: Tensor | None) -> Tensor:
        """(M, N, C) -> (N, C), in fp32 as the ensemble computes."""
        made = FittedStacking(weight=fused.options["weight"], bias=fused.options["bias"], nll=0.0)
        return made.log_probabilities(logits.float())
