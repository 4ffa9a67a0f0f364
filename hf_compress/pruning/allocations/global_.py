"""One threshold for all layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._selection import largest
from hf_compress._sharding.across import ALONE, Across
from hf_compress.pruning.allocation import Allocation


@dataclass(frozen=True, kw_only=True)
class Global(Allocation, name="global"):
    """The lowest scores of the whole model go, so layers with small scores lose more.

    Scores of different layers must be comparable, as magnitudes are. They are searched where they are, without a copy.
    """

    compares_layers: ClassVar[bool] = True

    def shares(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, float]:
        """Exact: the sizes of the layers' parts below one common threshold; ties go by layer order, then index."""
        return self.shares_of_parts(scores, sparsity, ALONE)

    def shares_of_parts(self, scores: Mapping[str, Tensor], sparsity: float, across: Across) -> dict[str, float]:
        """The same, with one threshold for the scores of all processes."""
        size = sum(score.numel() for score in scores.values())
        total = across.total(size)
        cut = largest(scores.values, total - round(sparsity * total), size, across)
        found, offset = {}, 0
        for name, score in scores.items():
            kept = across.total(int(cut.mask(score, offset).sum()))
            found[name] = 1 - kept / across.total(score.numel())
            offset += score.numel()
        return found
