"""The contract of an allocation: how one overall sparsity is shared among layers."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress._sharding.across import Across
from hf_compress.pruning.criterion import Criterion


class OneByOne(Mapping[str, Tensor]):
    """Matrices that are computed whenever they are asked for, so that a model's scores never stand there all at once: four
    bytes for every weight are more than cheap arithmetic, done two or three times, is worth.
    """

    def __init__(
        self,
        names: Iterable[str],
        compute: Callable[[str], Tensor],
        rows: Callable[[str], Iterable[Tensor]] | None = None,
    ) -> None:
        self._names, self._compute, self._rows = dict.fromkeys(names), compute, rows

    def __getitem__(self, name: str) -> Tensor:
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def blocks(self, name: str) -> Iterable[Tensor]:
        """The matrix of a name in blocks of rows, which never stand there all at once where they can be computed so."""
        return [self[name]] if self._rows is None else self._rows(name)


class Allocation(Strategy, kind="allocation", package="hf_compress.pruning.allocations"):
    """Distributes sparsity over layers.

    Attributes:
        needs: statistics that the scores it looks at are made of, where they are not the run's criterion's.
        compares_layers: scores of different layers are compared with each other.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    compares_layers: ClassVar[bool] = False

    def scored_by(self, criterion: Criterion) -> Criterion:
        """Whose scores it looks at: those of the run's criterion, unless an allocation has a measure of its own."""
        return criterion

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
        found = self.shares_of_shapes({name: tuple(score.shape) for name, score in scores.items()}, sparsity, sparsity)
        if found is None:
            raise TypeError(f"{type(self).__name__} defines no shares()")
        return found

    def shares_of_shapes(
        self, shapes: Mapping[str, tuple[int, ...]], sparsity: float, final: float
    ) -> dict[str, float] | None:
        """The same where shapes and names of layers say it all; asked first, so that no score is computed in vain.

        Args:
            shapes: per layer name (O, I), of a convolution (O, C, kernel...).
            sparsity: the overall share of zeros, in [0, 1).
            final: the one that the schedule ends with.

        Returns:
            What `shares` would; None where that takes scores.
        """
        return None

    def check_layers(self, shapes: Mapping[str, tuple[int, ...]], final: float) -> None:
        """Refuse settings that do not fit the layers.

        Args:
            shapes: as for `shares_of_shapes`.
            final: the overall sparsity at the end.

        Raises:
            CompressionError: with what does not fit.
        """

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

    def fewest_zeros(self, sizes: Iterable[int], sparsity: float, units: Iterable[int] | None = None) -> int:
        """How many zeros `shares` promises at least, once each layer has rounded its share.

        Args:
            sizes: weights of each layer.
            sparsity: the overall share of zeros.
            units: weights that go together, for each layer; None = one by one.
        """
        counts = list(sizes)
        together = itertools.repeat(1, len(counts)) if units is None else units
        return max(round(sparsity * sum(counts)) - sum(together), 0)
