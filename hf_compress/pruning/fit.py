"""Whether a pruning job fits the modules it was given, known before anything is pruned."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import num_channels, weight_matrix
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import Criterion

Stats = Mapping[str, Mapping[str, Tensor]]
"""Statistics by layer name, then by statistic name."""


def check_fit(modules: Mapping[str, nn.Module], pruning: Pruning, stats: Stats | None = None) -> None:
    """Refuse what the first mask, or the last, would stumble over.

    Args:
        modules: the matched modules by name.
        pruning: what is asked for.
        stats: what the criterion needs, per layer.

    Raises:
        CompressionError: a module has no weight matrix, statistics are missing, the pattern does not fit into a layer, or
            every layer is so small that the sparsity rounds to nothing.
    """
    sizes = {name: weight_matrix(module).numel() for name, module in modules.items()}
    check_statistics(modules, pruning, stats)
    for name, module in modules.items():
        width = num_channels(module) if pruning.pattern.along_inputs else weight_matrix(module).shape[-1]
        try:
            pruning.pattern.mask(torch.zeros(1, width), pruning.schedule.final)
        except CompressionError as error:
            raise CompressionError(f"pruning.pattern: {name}: {error}") from error
    final = pruning.schedule.final
    if final > 0 and pruning.allocation.fewest_zeros(sizes.values(), final) == 0 and max(sizes.values()) * final < 1:
        raise CompressionError(
            f"pruning.schedule.final: {final:g} rounds to no weight at all in layers of at most {max(sizes.values())}"
            " weights; raise it, or target larger layers"
        )


def check_statistics(modules: Mapping[str, nn.Module], pruning: Pruning, stats: Stats | None) -> None:
    """Refuse a criterion without the statistics it reads.

    Raises:
        CompressionError: naming the first layer that lacks one.
    """
    for name in modules:
        missing = [need for need in pruning.criterion.needs if need not in (stats or {}).get(name, {})]
        if missing:
            raise CompressionError(f"pruning.criterion: {lacking(pruning.criterion, missing, f' of {name}')}")


def lacking(criterion: Criterion, missing: Sequence[str], where: str = "") -> str:
    """The sentence for a criterion without the statistics it reads; training has none to give."""
    return (
        f"criterion {criterion.name!r} needs {', '.join(missing)}{where}, and training collects no statistics; give them to"
        " prune(model, pruning, stats), or use criterion 'magnitude', which needs none"
    )
