"""Masks from scores."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_stored, channel_rows, from_channel_rows, layer_shape, matrix_size, own_matrix
from hf_compress._modules.parts import across_matrix, is_in_order, part_of_matrix, whole_matrix
from hf_compress._sharding.across import ALONE, Across, Rows
from hf_compress._sharding.contract import reshard, sharding_of
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.fit import check_statistics, chosen
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.statistics import Stats


@torch.no_grad()
def compute_masks(
    modules: Mapping[str, nn.Module],
    pruning: Pruning,
    sparsity: float,
    stats: Stats | None = None,
    held: Mapping[str, Tensor] | None = None,
    shares: Mapping[str, float] | None = None,
) -> dict[str, Tensor]:
    """One mask per module for an overall sparsity.

    Args:
        modules: the matched modules by name.
        pruning: criterion, pattern and allocation are used.
        sparsity: overall share of zeros in [0, 1).
        stats: what the criterion needs, per layer.
        held: masks that stand already, for some of the modules; what they prune stays pruned and counts first, so that a
            layer has the larger of both sparsities.
        shares: sparsity of each module, where they are known already; the allocation is not asked then.

    Returns:
        (O, I) bool per name, True = keep; of a sharded weight this process's part. Every process must call it.

    Raises:
        CompressionError: the criterion needs statistics that are not there, or a score is not finite.
    """
    stats, held = stats or {}, held or {}
    check_statistics(modules, pruning, stats)
    across = {name: across_matrix(module) for name, module in modules.items()}
    finite: set[str] = set()

    def score_of(name: str) -> Tensor:
        score = _score(pruning.criterion, modules[name], stats.get(name, {}), across[name])
        if name not in finite and across[name].total(int(not torch.isfinite(score).all())):
            raise CompressionError(
                f"the {pruning.criterion.name} scores of {name} are not finite, so the weights hold NaN or infinity;"
                " training has diverged: lower the learning rate"
            )
        finite.add(name)
        return score

    scores = _OneByOne(modules, score_of)
    if shares is None:
        shapes = {name: layer_shape(module) for name, module in modules.items()}
        shares = pruning.allocation.shares_of_shapes(shapes, sparsity, pruning.schedule.final)
    if shares is None:
        shares = _shares(pruning.allocation, modules, scores, across, sparsity)
    masks = {}
    for name, score in scores.items():
        known = held.get(name)
        if known is not None:
            score = torch.where(known, score, -torch.inf)
        keep = _mask(pruning.pattern, modules[name], score, shares[name], across[name])
        masks[name] = keep if known is None else keep & known
    return masks


class _OneByOne(Mapping[str, Tensor]):
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


def _score(criterion: Criterion, module: nn.Module, stats: Mapping[str, Tensor], across: Across) -> Tensor:
    """Of this process's part; statistics are of the whole layer, and so is then what is scored."""
    if across is ALONE or (criterion.one_by_one and not stats):
        return criterion.score(own_matrix(module), stats)
    return part_of_matrix(module, criterion.score(whole_matrix(module, own_matrix(module)), stats))


def _shares(
    allocation: Allocation,
    modules: Mapping[str, nn.Module],
    scores: Mapping[str, Tensor],
    across: Mapping[str, Across],
    sparsity: float,
) -> dict[str, float]:
    """The sparsity of each layer; of sharded ones from the scores of all processes."""
    groups = list(dict.fromkeys(one.of if isinstance(one, Rows) else one for one in across.values() if one is not ALONE))
    if not groups:
        return allocation.shares(scores, sparsity)
    if len(groups) == 1:
        first = groups[0].place == 0
        here = {name: first or across[name] is not ALONE for name in scores}
        once = _OneByOne(scores, lambda name: scores[name] if here[name] else scores[name][:0])
        found = allocation.shares_of_parts(once, sparsity, groups[0])
        if found is not None:
            return found
    return allocation.shares(_OneByOne(scores, lambda name: whole_matrix(modules[name], scores[name])), sparsity)


def _mask(pattern: Pattern, module: nn.Module, score: Tensor, sparsity: float, across: Across) -> Tensor:
    """(O, I) -> (O, I) bool, in whichever order the pattern reads."""
    if across is not ALONE and not is_in_order(module, pattern.along_inputs):
        return part_of_matrix(module, _mask(pattern, module, whole_matrix(module, score), sparsity, ALONE))
    rows = channel_rows(module, score) if pattern.along_inputs else score
    keep = pattern.mask(rows, sparsity) if across is ALONE else pattern.mask_of_part(rows, sparsity, across)
    if keep is None:
        return part_of_matrix(module, _mask(pattern, module, whole_matrix(module, score), sparsity, ALONE))
    return from_channel_rows(module, keep) if pattern.along_inputs else keep


def apply_mask(module: nn.Module, keep: Tensor) -> None:
    """Set what a mask prunes to zero, in place; (O, I) bool, this process's part."""
    zero(module.weight, as_stored(module, keep))  # type: ignore[arg-type]


def zero(weight: Tensor, stored: Tensor) -> None:
    """The same with a mask in the weight's own shape."""
    sharding_of(weight).edit(weight, lambda part: part.mul_(stored))


@torch.no_grad()
def zeros_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The masks that the zeros of a model draw: (O, I) bool, True = not zero, for the modules that have zeros.

    A module that is zero throughout holds no choice of weights: it was initialised so and has yet to learn, and gets no
    mask. Of sharded weights these are the parts, and every process must call it.
    """
    found = {}
    for name, module in modules.items():
        keep = own_matrix(module) != 0
        if 0 < across_matrix(module).total(int(keep.count_nonzero())) < matrix_size(module):
            found[name] = keep
    return found


@torch.no_grad()
def measure_sparsity(model: nn.Module, pruning: Pruning) -> dict[str, float]:
    """The share of exact zeros in each matched weight, by module name, and overall under the key "".

    Of a sharded model every process must call it, and gets the same.
    """
    modules = chosen(model, pruning).modules
    reshard(model)
    zeros = {
        name: across_matrix(module).total(int((own_matrix(module) == 0).count_nonzero()))
        for name, module in modules.items()
    }
    sizes = {name: matrix_size(module) for name, module in modules.items()}
    return {
        "": sum(zeros.values()) / max(sum(sizes.values()), 1),
        **{name: zeros[name] / max(sizes[name], 1) for name in modules},
    }
