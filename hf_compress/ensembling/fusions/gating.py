"""All members are asked, and a small network says row by row whom to listen to."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Reference
from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.fitting.gating import fit_gate, rows_held_out
from hf_compress.ensembling.fusion import Fused, Fusion, Said


@dataclass(frozen=True, kw_only=True)
class GatingFusion(Fusion, name="gating"):
    """log p = combiner(members, gate(members)).

    Attributes:
        hidden: width of the gate's hidden layer; None = none.
        held_out: share of the rows that it does not learn from, and is stopped by.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        steps: at most.
        patience: steps without a better log-loss on the held-out rows after which it ends.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Jacobs, Jordan, Nowlan, Hinton",
        title="Adaptive Mixtures of Local Experts",
        year=1991,
        link="https://doi.org/10.1162/neco.1991.3.1.79",
    )
    ensemble: ClassVar[str] = "Gating"
    takes: ClassVar[tuple[Literal["weights", "combiner", "leave_out"], ...]] = ("combiner",)

    hidden: int | None = None
    held_out: float = 0.2
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    steps: int = 1000
    patience: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise CompressionError(f"held_out={self.held_out} must be a share between 0 and 1")
        if (self.hidden is not None and self.hidden < 1) or self.steps < 1 or self.patience < 1:
            raise CompressionError(
                f"hidden={self.hidden}, steps={self.steps} and patience={self.patience} must be 1 or more; leave hidden out"
                " for no hidden layer"
            )
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise CompressionError(
                f"learning_rate={self.learning_rate} must be above 0, and weight_decay={self.weight_decay} 0 or more"
            )

    def check_rows(self, num_rows: int) -> None:
        """Some are held out, and some are not."""
        rows_held_out(self.held_out, num_rows)

    def fit(self, said: Said) -> Fused:
        """The gate, where the held-out rows are best."""
        found = fit_gate(
            said.logits,
            said.labels,
            said.combiner,
            hidden=self.hidden,
            held_out=self.held_out,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            steps=self.steps,
            patience=self.patience,
            seed=said.seed,
        )
        note = (
            f"Gate fitted on validation in {found.steps} steps, its log-loss on {found.num_held_out} rows there that it did"
            f" not learn from: {found.nll_held_out:.4f}, with weights that are the same for all rows"
            f" {found.nll_held_out_fixed:.4f}."
        )
        facts = {"nll_held_out": found.nll_held_out, "nll_held_out_fixed": found.nll_held_out_fixed, "steps": found.steps}
        return Fused(options={"gate": found.gate}, learned=("gate",), notes=(note,), facts=facts)

    def answer(self, fused: Fused, logits: Tensor, combiner: Combiner, weights: Tensor | None) -> Tensor:
        """(M, N, C) -> (N, C)."""
        with torch.no_grad():
            return combiner.combine(logits, fused.options["gate"](logits.float()).to(logits))
