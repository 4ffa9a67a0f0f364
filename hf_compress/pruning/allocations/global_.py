"""One threshold for all layers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from hf_compress._selection import largest
from hf_compress._sharding.across import ALONE, Across
from hf_compress.pruning.allocation import Allocation, OneByOne


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
        in_blocks = isinstance(scores, OneByOne) and across is ALONE  # those of several processes would not correspond

        def blocks_of(name: str) -> Iterable[Tensor]:
            return scores.blocks(name) if in_blocks else [scores[name]]  # type: ignore[attr-defined]

        sizes = {name: sum(block.numel() for block in blocks_of(name)) for name in scores}
        size = sum(sizes.values())
        total = across.total(size)
        every = lambda: (block for name in scores for block in blocks_of(name))  # noqa: E731
        cut = largest(every, total - round(sparsity * total), size, across)
        found, offset = {}, 0
        for name in scores:
            kept = 0
            for block in blocks_of(name):
                kept += int(cut.mask(block, offset).count_nonzero())
                offset += block.numel()
            found[name] = 1 - across.total(kept) / across.total(sizes[name])
        return found
