"""Scores of many layers, computed one by one, and what they are compared with."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import own_matrix
from hf_compress._modules.parts import part_of_matrix, whole_matrix
from hf_compress._sharding.across import ALONE, Across
from hf_compress.pruning.allocation import OneByOne
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.pattern import of_units, unit_means
from hf_compress.pruning.statistics import Stats

_CACHED = 2**16
"""Numbers that are worked on at once: what is made on the way stays in the processor's cache."""
_BLOCK = 2**20
"""Scores that stand there at once, where a threshold over many layers is looked for and rows can be scored alone."""


def scores_of(
    criterion: Criterion, modules: Mapping[str, nn.Module], stats: Stats, across: Mapping[str, Across]
) -> Mapping[str, Tensor]:
    """The scores of each layer's part in this process, when they are asked for.

    Raises:
        CompressionError: when they are asked for: a score is not finite.
    """
    finite: set[str] = set()

    def refuse(name: str, wrong: int) -> None:
        if across[name].total(wrong):
            raise CompressionError(
                f"the {criterion.name} scores of {name} are not finite, so the weights hold NaN or infinity;"
                " where a training made them it has diverged: lower the learning rate"
            )

    def score_of(name: str) -> Tensor:
        score = _score(criterion, name, modules[name], stats.get(name, {}), across[name])
        if name not in finite:
            refuse(name, int(not _is_finite(score)))
            finite.add(name)
        return score

    def rows_of(name: str) -> Iterator[Tensor]:
        if across[name] is not ALONE or not criterion.one_by_one or stats.get(name):
            yield score_of(name)
            return
        matrix = own_matrix(modules[name])
        for block in matrix.split(max(_BLOCK // matrix.shape[1], 1)):
            score = criterion.score_layer(name, block, {})
            if name not in finite:
                refuse(name, int(not _is_finite(score)))
            yield score
        finite.add(name)

    return OneByOne(modules, score_of, rows_of)


def _is_finite(score: Tensor) -> bool:
    """No NaN, which extremes hand on, and nothing infinite: in one pass, where `isfinite` makes several."""
    return not score.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(score))).all())


def _score(criterion: Criterion, name: str, module: nn.Module, stats: Mapping[str, Tensor], across: Across) -> Tensor:
    """Of this process's part; statistics are of the whole layer, and so is then what is scored."""
    if across is ALONE or (criterion.one_by_one and not stats):
        return criterion.score_layer(name, own_matrix(module), stats)
    return part_of_matrix(module, criterion.score_layer(name, whole_matrix(module, own_matrix(module)), stats))


@torch.no_grad()
def behind_all(score: Tensor, keep: Tensor, room: Tensor) -> Tensor:
    """The scores with -inf in the place of those that a mask does not keep.

    As a minimum with inf or -inf, because choosing number by number waits for every wrong guess of the processor.

    Args:
        score: (O, I).
        keep: (O, I) bool.
        room: (at least O * I,) of the scores' type, where the result is written.
    """
    found, lowest, kept = room[: score.numel()], score.reshape(-1), keep.reshape(-1).view(torch.uint8)
    bound = room.new_empty(min(_CACHED, found.numel()))
    for start in range(0, found.numel(), _CACHED):
        part = found[start : start + _CACHED]
        signs = bound[: part.numel()].copy_(kept[start : start + _CACHED]).sub_(0.5).mul_(torch.inf)
        torch.minimum(lowest[start : start + _CACHED], signs, out=part)
    return found.view(score.shape)


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
