"""Masks from scores, and one-shot pruning."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules import as_stored, match_modules, weight_matrix
from hf_compress.pruning.configuration import Pruning

Stats = Mapping[str, Mapping[str, Tensor]]
"""Statistics by layer name, then by statistic name."""


@torch.no_grad()
def compute_masks(
    modules: Mapping[str, nn.Module], pruning: Pruning, sparsity: float, stats: Stats | None = None
) -> dict[str, Tensor]:
    """One mask per module for an overall sparsity.

    Args:
        modules: the matched modules by name.
        pruning: criterion, pattern and allocation are used.
        sparsity: overall share of zeros in [0, 1).
        stats: what the criterion needs, per layer.

    Returns:
        (O, I) bool per name, True = keep.

    Raises:
        CompressionError: the criterion needs statistics that are not there, or a score is not finite.
    """
    stats = stats or {}
    scores = {}
    for name, module in modules.items():
        missing = [need for need in pruning.criterion.needs if need not in stats.get(name, {})]
        if missing:
            raise CompressionError(
                f"criterion {pruning.criterion.name!r} needs {', '.join(missing)} of {name}; collect them with"
                " calibration first, or use criterion 'magnitude', which needs none"
            )
        score = pruning.criterion.score(weight_matrix(module), stats.get(name, {}))
        if not torch.isfinite(score).all():
            raise CompressionError(
                f"the {pruning.criterion.name} scores of {name} are not finite, so the weights hold NaN or infinity;"
                " training has diverged: lower the learning rate"
            )
        scores[name] = score
    shares = pruning.allocation.shares(scores, sparsity)
    return {name: pruning.pattern.mask(score, shares[name]) for name, score in scores.items()}


@torch.no_grad()
def prune(model: nn.Module, pruning: Pruning, stats: Stats | None = None) -> dict[str, Tensor]:
    """Prune in place, at once, to the schedule's final sparsity.

    Args:
        model: changed in place.
        pruning: what and how; of the schedule only `final` counts.
        stats: what the criterion needs, per layer.

    Returns:
        The masks by module name, (O, I) bool, True = keep.

    Raises:
        CompressionError: nothing matches, or the criterion's statistics are missing.
    """
    modules = match_modules(model, pruning.targets, pruning.ignore, "pruning")
    masks = compute_masks(modules, pruning, pruning.schedule.final, stats)
    for name, module in modules.items():
        weight: Any = module.weight
        weight.mul_(as_stored(module, masks[name]))
    return masks


@torch.no_grad()
def measure_sparsity(model: nn.Module, pruning: Pruning) -> dict[str, float]:
    """The share of exact zeros in each matched weight, by module name, and overall under the key ""."""
    modules = match_modules(model, pruning.targets, pruning.ignore, "pruning")
    zeros = {name: int((weight_matrix(module) == 0).sum()) for name, module in modules.items()}
    sizes = {name: weight_matrix(module).numel() for name, module in modules.items()}
    return {
        "": sum(zeros.values()) / max(sum(sizes.values()), 1),
        **{name: zeros[name] / max(sizes[name], 1) for name in modules},
    }
