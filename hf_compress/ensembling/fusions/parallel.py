"""All members are asked, and a combiner makes one answer of theirs."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from hf_compress.ensembling.combiner import Combiner
from hf_compress.ensembling.fusion import Fused, Fusion, Said


@dataclass(frozen=True, kw_only=True)
class ParallelFusion(Fusion, name="parallel"):
    """log p = combiner(members, weights); what is learned are the weights, where the recipe asks for that."""

    ensemble: ClassVar[str] = "ParallelEnsemble"
    whole_rows: ClassVar[bool] = False
    takes: ClassVar[tuple[Literal["weights", "combiner", "leave_out"], ...]] = ("weights", "combiner", "leave_out")

    @property
    def learns(self) -> bool:
        """No."""
        return False

    def fit(self, said: Said) -> Fused:
        """Nothing of its own."""
        return Fused()

    def answer(self, fused: Fused, logits: Tensor, combiner: Combiner, weights: Tensor | None) -> Tensor:
        """(M, N, C) -> (N, C)."""
        return combiner.combine(logits, weights)
