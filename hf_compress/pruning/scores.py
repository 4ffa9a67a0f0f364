"""Scores of many layers, computed one by one, and what they are compared with."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import own_matrix
from hf_compress._modules.parts import part_of_matrix, whole_matrix
from hf_compress._sharding.across import ALONE, Across
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.pattern import of_units, unit_means
from hf_compress.pruning.statistics import Stats


class OneByOne(Mapping[str, Tensor]):
    """Matrices that are computed whenever they are asked for, so that a model's scores never stand there all at once: four
    bytes for every weight are more than cheap arithmetic, done two or three times, is worth.
    """

    def __init__(self, names: Iterable[str], compute: Callable[[str], Tensor]) -> None:
        self._names, self._compute = dict.fromkeys(names), compute

    def __getitem__(self, name: str) -> Tensor:
        return self._compute(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def scores_of(
    criterion: Criterion, modules: Mapping[str, nn.Module], stats: Stats, across: Mapping[str, Across]
) -> Mapping[str, Tensor]:
    """The scores of each layer's part in this process, when they are asked for.

    Raises:
        CompressionError: when they are asked for: a score is not finite.
    """
    finite: set[str] = set()

    def score_of(name: str) -> Tensor:
        score = _score(criterion, name, modules[name], stats.get(name, {}), across[name])
        if name not in finite and across[name].total(int(not torch.isfinite(score).all())):
            raise CompressionError(
                f"the {criterion.name} scores of {name} are not finite, so the weights hold NaN or infinity;"
                " training has diverged: lower the learning rate"
            )
        finite.add(name)
        return score

    return OneByOne(modules, score_of)


def _score(criterion: Criterion, name: str, module: nn.Module, stats: Mapping[str, Tensor], across: Across) -> Tensor:
    """Of this process's part; statistics are of the whole layer, and so is then what is scored."""
    if across is ALONE or (criterion.one_by_one and not stats):
        return criterion.score_layer(name, own_matrix(module), stats)
    return part_of_matrix(module, criterion.score_layer(name, whole_matrix(module, own_matrix(module)), stats))


def places_in_rows(score: Tensor, columns: int = 1) -> Tensor:
    """The place of each score in its row, the lowest has 0; of equal ones the last is the lowest.

    To select the lowest places of a layer is to select the same number in every row, to within one. Scores of -inf, of
    weights that are pruned already, stay what they are.

    Args:
        score: (O, I) fp32.
        columns: how many neighbours in a row go together, and have the place of their mean.

    Returns:
        (O, I) fp32.
    """
    if columns > 1:
        return of_units(places_in_rows(unit_means(score, (1, columns))), (1, columns))
    order = score.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(score.shape[1] - 1, -1, -1, device=score.device, dtype=torch.float32)
    found = torch.empty_like(score, dtype=torch.float32).scatter_(1, order, places.expand(score.shape).contiguous())
    return found.masked_fill_(score == -torch.inf, -torch.inf)
