"""The contract of an allocation: how one overall sparsity is shared among layers."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress._sharding.across import Across


class Allocation(Strategy, kind="allocation", package="hf_compress.pruning.allocations"):
    """Distributes sparsity over layers."""

    def shares(self, scores: Mapping[str, Tensor], sparsity: float) -> dict[str, float]:
        """One sparsity per layer.

        Args:
            scores: (O, I) fp32 per layer name; each is computed when it is asked for, so go through them one by one, the
                same way in every process, and keep none.
            sparsity: the overall share of zeros, in [0, 1).

        Returns:
            Sparsity per layer name, each in [0, 1], whose mean weighted by layer size is `sparsity` (to within one weight
            per layer).
        """
        raise TypeError(f"{type(self).__name__} defines no shares()")

    def shares_of_parts(self, scores: Mapping[str, Tensor], sparsity: float, across: Across) -> dict[str, float] | None:
        """The same where every process holds other scores of the same layers.

        Args:
            scores: this process's; of a layer that every process holds whole, the first process's.
            sparsity: the overall share of zeros.
            across: the processes; all of them ask.

        Returns:
            What `shares` says of the whole layers; None where that takes all scores, which are gathered then.
        """
        return None

    def fewest_zeros(self, sizes: Iterable[int], sparsity: float) -> int:
        """How many zeros `shares` promises at least, over layers of these sizes, once each layer has rounded its share."""
        counts = list(sizes)
        return max(round(sparsity * sum(counts)) - len(counts), 0)
