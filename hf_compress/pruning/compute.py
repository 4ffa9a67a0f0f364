"""Masks from scores."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import (
    as_stored,
    channel_rows,
    from_channel_rows,
    layer_shape,
    matrix_shape,
    matrix_size,
    own_matrix,
)
from hf_compress._modules.module_kind import takes_ids
from hf_compress._modules.parts import across_matrix, is_in_order, part_of_matrix, whole_matrix
from hf_compress._sharding.across import ALONE, Across, Rows, Runs
from hf_compress._sharding.contract import reshard, sharding_of
from hf_compress.pruning.allocation import Allocation, OneByOne
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.fit import check_statistics, chosen
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.scores import behind_all, places_in_rows, scores_of
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
        sparsity: overall share of zeros in [0, 1); for a criterion with a cut the share of it that counts.
        stats: what criterion and allocation need, per layer.
        held: masks that stand already, for some of the modules; what they prune stays pruned and counts first, so that a
            layer has the larger of both sparsities.
        shares: sparsity of each module, where they are known already; the allocation is not asked then.

    Returns:
        (O, I) bool per name, True = keep; of a sharded weight this process's part. Every process must call it.

    Raises:
        CompressionError: statistics are needed that are not there, a score is not finite, or a criterion's cut leaves
            nothing of a layer.
    """
    stats, held = stats or {}, held or {}
    check_statistics(modules, pruning, stats)
    across = {name: across_matrix(module) for name, module in modules.items()}
    scores = scores_of(pruning.criterion, modules, stats, across)
    if pruning.criterion.cut is not None:
        return _below(pruning, scores, across, sparsity, held)
    if shares is None:
        shares = _shares(pruning, modules, scores, stats, across, sparsity, held)
    masks, room = {}, torch.empty(0)
    for name, score in scores.items():
        known = held.get(name)
        if known is not None:
            if room.numel() < score.numel() or room.device != score.device or room.dtype != score.dtype:
                room = score.new_empty(score.numel())  # one for all layers: new memory costs more than the arithmetic
            score = behind_all(score, known, room)
        if pruning.criterion.in_rows and _has_several_in_a_row(pruning.pattern, modules[name]):
            keep = _mask_in_rows(pruning.pattern, modules[name], score, shares[name], across[name])
        else:
            keep = _mask(pruning.pattern, modules[name], score, shares[name], across[name])
        masks[name] = keep if known is None else keep & known
    return masks


def check_cut(modules: Mapping[str, nn.Module], pruning: Pruning) -> None:
    """Refuse, before anything else is done, a criterion's cut that would leave nothing of a layer.

    Raises:
        CompressionError: see `compute_masks`.
    """
    if pruning.criterion.cut is not None:
        compute_masks(modules, pruning, pruning.final)


def _below(
    pruning: Pruning,
    scores: Mapping[str, Tensor],
    across: Mapping[str, Across],
    amount: float,
    held: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The masks of a criterion with a cut, of which the share `amount` counts.

    Raises:
        CompressionError: a layer would be left without a weight.
    """
    masks, cut = {}, (pruning.criterion.cut or 0.0) * amount
    for name, score in scores.items():
        keep = score >= cut
        masks[name] = keep & held[name] if name in held else keep
        if not across[name].total(int(masks[name].count_nonzero())):
            raise CompressionError(
                f"pruning.criterion: {pruning.criterion.name}: all {across[name].total(score.numel())} weights of {name}"
                f" lie below {cut:g}, and the layer would be gone; lower value, or add '{name}' to pruning.ignore"
            )
    return masks


def _has_several_in_a_row(pattern: Pattern, module: nn.Module) -> bool:
    """Whether a row of a layer has more than one group of weights that go together, and so something to compare in it."""
    outputs, inputs = matrix_shape(module)
    rows, columns = pattern.unit(outputs, inputs)
    return rows == 1 and columns < inputs


def _mask_in_rows(pattern: Pattern, module: nn.Module, score: Tensor, sparsity: float, across: Across) -> Tensor:
    """The same, with scores that are compared within each row, of the whole layer."""
    _, columns = pattern.unit(*matrix_shape(module))
    if across is ALONE:
        return _mask(pattern, module, places_in_rows(score, columns), sparsity, ALONE)
    whole = _mask(pattern, module, places_in_rows(whole_matrix(module, score), columns), sparsity, ALONE)
    return part_of_matrix(module, whole)


def _shares(
    pruning: Pruning,
    modules: Mapping[str, nn.Module],
    scores: Mapping[str, Tensor],
    stats: Stats,
    across: Mapping[str, Across],
    sparsity: float,
    held: Mapping[str, Tensor],
) -> dict[str, float]:
    """The sparsity of each layer; of sharded ones from the scores of all processes."""
    allocation = pruning.allocation
    shapes = {name: layer_shape(module) for name, module in modules.items()}
    known = allocation.shares_of_shapes(shapes, sparsity, pruning.schedule.final)
    if known is not None:
        return known
    own = allocation.scored_by(pruning.criterion)
    scores = scores if own is pruning.criterion else scores_of(own, modules, stats, across)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    gone = {name: across[name].total(int((~keep).count_nonzero())) / sizes[name] for name, keep in held.items()}
    return _with_held(_shares_of_scores(allocation, modules, scores, across, sparsity), gone, sizes, sparsity)


def _with_held(
    shares: Mapping[str, float], gone: Mapping[str, float], sizes: Mapping[str, int], sparsity: float
) -> dict[str, float]:
    """Shares that are lowered by one factor where layers hold more zeros than their share, so that the overall sparsity
    comes out all the same: scores move while a model trains, and what is pruned stays pruned.
    """

    def at(factor: float) -> dict[str, float]:
        return {name: max(factor * share, gone.get(name, 0.0)) for name, share in shares.items()}

    def excess(factor: float) -> float:
        return sum(share * sizes[name] for name, share in at(factor).items()) - sparsity * sum(sizes.values())

    if excess(1.0) < 0.5:  # less than a weight is rounding
        return dict(shares)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return at(high)


def _shares_of_scores(
    allocation: Allocation,
    modules: Mapping[str, nn.Module],
    scores: Mapping[str, Tensor],
    across: Mapping[str, Across],
    sparsity: float,
) -> dict[str, float]:
    """What an allocation says of scores that may lie in several processes."""
    groups = list(dict.fromkeys(one.of if isinstance(one, Rows) else one for one in across.values() if one is not ALONE))
    if not groups:
        return allocation.shares(scores, sparsity)
    if len(groups) == 1:
        first = groups[0].place == 0
        here = {name: first or across[name] is not ALONE for name in scores}
        once = OneByOne(scores, lambda name: scores[name] if here[name] else scores[name][:0])
        found = allocation.shares_of_parts(once, sparsity, groups[0])
        if found is not None:
            return found
    return allocation.shares(OneByOne(scores, lambda name: whole_matrix(modules[name], scores[name])), sparsity)


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
    zero(module.weight, as_stored(module, keep).view(torch.uint8))  # type: ignore[arg-type]


def zero(weight: Tensor, stored: Tensor) -> None:
    """The same with a mask in the weight's own shape, as bytes."""
    sharding_of(weight).edit(weight, lambda part: part.mul_(stored))


@torch.no_grad()
def zeros_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The masks that the zeros of a model draw: (O, I) bool, True = not zero, for the modules that have zeros.

    A module that is zero throughout holds no choice of weights: it was initialised so and has yet to learn, and gets no
    mask. Nor is an embedding's vector of zeros pruned: it is that of padding, or of a token that nobody has met. Of sharded
    weights these are the parts, and every process must call it.
    """
    found = {}
    for name, module in modules.items():
        keep = own_matrix(module) != 0
        if takes_ids(module) and not isinstance(across_matrix(module), Runs):  # runs show no vectors
            keep |= ~keep.any(0)
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
