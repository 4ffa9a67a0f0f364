"""Density by the sums of a layer's dimensions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from hf_compress._registry import Reference
from hf_compress.pruning.allocation import Allocation


@dataclass(frozen=True, kw_only=True)
class ERK(Allocation, name="erk"):
    """density_l = epsilon * (n_in + n_out + kw + kh) / (n_in * n_out * kw * kh), the Erdos-Renyi kernel.

    epsilon is the number with which the overall sparsity comes out; where a density would exceed 1 the layer stays dense
    and epsilon is solved anew for the others. So small layers keep more of their weights.

    Source: Evci et al. 2020 (RigL), section 3; after Mocanu et al. 2018.
    """

    reference: ClassVar[Reference | None] = Reference(
        authors="Evci, Gale, Menick, Castro, Elsen",
        title="Rigging the Lottery: Making All Tickets Winners",
        year=2020,
        link="https://arxiv.org/abs/1911.11134",
        equation="section 3",
    )

    def shares_of_shapes(self, shapes: Mapping[str, tuple[int, ...]], sparsity: float, final: float) -> dict[str, float]:
        """1 - density_l."""
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
        kept, dense = (1 - sparsity) * sum(sizes.values()), set[str]()
        while len(dense) < len(sizes):
            left = [name for name in sizes if name not in dense]
            epsilon = (kept - sum(sizes[name] for name in dense)) / sum(raw[name] * sizes[name] for name in left)
            full = [name for name in left if epsilon * raw[name] > 1]
            if not full:
                return {name: 0.0 if name in dense else 1 - epsilon * raw[name] for name in sizes}
            dense.update(full)
        return dict.fromkeys(sizes, 0.0)
