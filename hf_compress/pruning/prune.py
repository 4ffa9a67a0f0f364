"""Masks from scores, and one-shot pruning."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._kinds import require
from hf_compress._modules.ignored import say_left_out, say_unmatched
from hf_compress._modules.matrix import as_stored, channel_rows, from_channel_rows, weight_matrix
from hf_compress._modules.plain_model import require_plain
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.fit import check_fit, check_statistics, chosen
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.statistics import Batches, Collected, Stats, statistics_for

logger = logging.getLogger(__name__)


@torch.no_grad()
def compute_masks(
    modules: Mapping[str, nn.Module],
    pruning: Pruning,
    sparsity: float,
    stats: Stats | None = None,
    held: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """One mask per module for an overall sparsity.

    Args:
        modules: the matched modules by name.
        pruning: criterion, pattern and allocation are used.
        sparsity: overall share of zeros in [0, 1).
        stats: what the criterion needs, per layer.
        held: masks that stand already, for some of the modules; what they prune stays pruned and counts first, so that a
            layer has the larger of both sparsities.

    Returns:
        (O, I) bool per name, True = keep.

    Raises:
        CompressionError: the criterion needs statistics that are not there, or a score is not finite.
    """
    stats, held = stats or {}, held or {}
    check_statistics(modules, pruning, stats)
    scores = {}
    for name, module in modules.items():
        score = pruning.criterion.score(weight_matrix(module), stats.get(name, {}))
        if not torch.isfinite(score).all():
            raise CompressionError(
                f"the {pruning.criterion.name} scores of {name} are not finite, so the weights hold NaN or infinity;"
                " training has diverged: lower the learning rate"
            )
        scores[name] = score
    shares = pruning.allocation.shares(scores, sparsity)
    masks = {}
    for name, score in scores.items():
        known = held.get(name)
        if known is not None:
            score = torch.where(known, score, -torch.inf)
        keep = _mask(pruning.pattern, modules[name], score, shares[name])
        masks[name] = keep if known is None else keep & known
    return masks


def _mask(pattern: Pattern, module: nn.Module, score: Tensor, sparsity: float) -> Tensor:
    """(O, I) -> (O, I) bool, in whichever order the pattern reads."""
    if not pattern.along_inputs:
        return pattern.mask(score, sparsity)
    return from_channel_rows(module, pattern.mask(channel_rows(module, score), sparsity))


@torch.no_grad()
def prune(model: nn.Module, pruning: Pruning, calibration: Batches | Collected | None = None) -> dict[str, Tensor]:
    """Prune in place, at once, to the schedule's final sparsity. Zeros that are there stay, and count first.

    Args:
        model: changed in place.
        pruning: what and how; of the schedule only `final` counts.
        calibration: for a criterion that needs statistics: batches of the model's keyword arguments to collect them on, or
            what `collect` returned for them. Others do not look at it.

    Returns:
        The masks by module name, (O, I) bool, True = keep.

    Raises:
        CompressionError: nothing matches, the criterion's statistics are missing, the pattern does not fit, or the model is
            quantized or carries adapters; nothing was changed.
    """
    require(pruning, Pruning, "prune(model, Pruning(schedule=Constant(final=0.5)))")
    require_plain(model, "pruning")
    selection = chosen(model, pruning)
    modules = selection.modules
    say_unmatched(model, pruning.ignore, "pruning")
    say_left_out(selection.left_out, "pruning")
    check_fit(modules, pruning)
    stats = statistics_for(model, modules, pruning.criterion, calibration)
    masks = compute_masks(modules, pruning, pruning.schedule.final, stats, held=zeros_of(modules))
    for name, module in modules.items():
        weight: Any = module.weight
        weight.mul_(as_stored(module, masks[name]))
    return masks


@torch.no_grad()
def zeros_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The masks that the zeros of a model draw: (O, I) bool, True = not zero, for the modules that have zeros.

    A module that is zero throughout holds no choice of weights: it was initialised so and has yet to learn, and gets no
    mask.
    """
    found = {}
    for name, module in modules.items():
        keep = weight_matrix(module) != 0
        if keep.any() and not keep.all():
            found[name] = keep
    return found


@torch.no_grad()
def measure_sparsity(model: nn.Module, pruning: Pruning) -> dict[str, float]:
    """The share of exact zeros in each matched weight, by module name, and overall under the key ""."""
    modules = chosen(model, pruning).modules
    zeros = {name: int((weight_matrix(module) == 0).sum()) for name, module in modules.items()}
    sizes = {name: weight_matrix(module).numel() for name, module in modules.items()}
    return {
        "": sum(zeros.values()) / max(sum(sizes.values()), 1),
        **{name: zeros[name] / max(sizes[name], 1) for name in modules},
    }
