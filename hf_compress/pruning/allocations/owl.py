"""Outlier-weighed layerwise sparsity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._modules.names import block_of
from hf_compress._registry import Reference
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.criteria.wanda import Wanda
from hf_compress.pruning.criterion import Criterion


@dataclass(frozen=True, kw_only=True)
class OWL(Allocation, name="owl"):
    """Blocks of the model with more outliers keep more of their weights.

    D_b is the share of the A_ij = |w_ij| * ||X_j||_2 of block b that are above `m` times the block's mean. Densities are
    2 * lambda_ * (D_b - min D) / (max D - min D), moved by one number so that the overall sparsity comes out; where that
    would leave [0, 1] a density stays at its end and the others are moved further. All layers of a block have the same.

    A block is a layer of the network: layers whose names are alike up to the first number (model.layers.3); a layer without
    a number is its own.

    Attributes:
        m: from how many means on a weight is an outlier, above 1.
        lambda_: half of how far the densities lie apart, in (0, 0.5].

    Source: Yin et al. 2024, with M = 5 and lambda = 0.08, rescaled as their experiments do.
    """

    m: float = 5.0
    lambda_: float = 0.08

    needs: ClassVar[tuple[str, ...]] = Wanda.needs
    reference: ClassVar[Reference | None] = Reference(
        authors="Yin, Wu, Zhang, Hsieh, Wang, Jia, Li, Jaiswal, Pechenizkiy, Liang, Bendersky, Wang, Liu",
        title="Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity",
        year=2024,
        link="https://arxiv.org/abs/2310.05175",
        equation="OWL",
    )

    def __post_init__(self) -> None:
        if not self.m > 1:
            raise CompressionError(f"m={self.m:g} must be above 1: an outlier is so many times the mean; the paper has 5")
        if not 0 < self.lambda_ <= 0.5:
            raise CompressionError(f"lambda_={self.lambda_:g} must lie in (0, 0.5]; the paper has 0.08")

    def scored_by(self, criterion: Criterion) -> Criterion:
        """A, whatever the run's criterion is."""
        return Wanda()

    def shares(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, float]:
        """1 - density, of scores A."""
        sums, sizes = dict[str, float](), dict[str, int]()
        for name, score in scores.items():
            block = block_of(name)
            sums[block] = sums.get(block, 0.0) + float(score.double().sum())
            sizes[block] = sizes.get(block, 0) + score.numel()
        outliers = dict.fromkeys(sizes, 0)
        for name, score in scores.items():
            block = block_of(name)
            outliers[block] += int((score > self.m * sums[block] / sizes[block]).count_nonzero())
        ratios = [outliers[block] / sizes[block] for block in sizes]
        lowest, spread = min(ratios), max(ratios) - min(ratios)
        offsets = [2 * self.lambda_ * (ratio - lowest) / spread if spread else 0.0 for ratio in ratios]
        densities = dict(zip(sizes, _moved(offsets, list(sizes.values()), 1 - sparsity), strict=True))
        return {name: 1 - densities[block_of(name)] for name in scores}


def _moved(offsets: Sequence[float], sizes: Sequence[int], mean: float) -> list[float]:
    """Offsets plus one number, cut to [0, 1], with a mean weighted by sizes."""
    total = sum(sizes)

    def at(number: float) -> list[float]:
        return [min(max(offset + number, 0.0), 1.0) for offset in offsets]

    number = mean - sum(offset * size for offset, size in zip(offsets, sizes, strict=True)) / total
    if all(0 <= offset + number <= 1 for offset in offsets):
        return at(number)
    low, high = -max(offsets), 1.0 - min(offsets)  # all 0, and all 1
    for _ in range(100):
        number = (low + high) / 2
        reached = sum(one * size for one, size in zip(at(number), sizes, strict=True)) / total
        low, high = (number, high) if reached < mean else (low, number)
    return at(number)
