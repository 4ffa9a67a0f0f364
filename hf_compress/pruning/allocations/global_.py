"""One threshold for all layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.pattern import keep_largest


@dataclass(frozen=True, kw_only=True)
class Global(Allocation, name="global"):
    """The lowest scores of the whole model go, so layers with small scores lose more.

    Scores of different layers must be comparable, as magnitudes are. Holds all scores at once.
    """

    def shares(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, float]:
        """Exact: the sizes of the layers' parts below one common threshold; ties go by layer order, then index."""
        flat = torch.cat([score.reshape(-1) for score in scores.values()])
        keep = keep_largest(flat, round(sparsity * flat.numel()))
        parts = keep.split([score.numel() for score in scores.values()])
        return {name: 1 - int(part.sum()) / part.numel() for name, part in zip(scores, parts, strict=True)}
