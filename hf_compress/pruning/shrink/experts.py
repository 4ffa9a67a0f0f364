"""What an expert is worth, by what it adds to the tokens that are routed to it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._modules.hooks import removed_afterwards
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress.calibration.chains import forward_arguments
from hf_compress.calibration.input_rows import masks_of
from hf_compress.pruning.shrink.importance import most_important

logger = logging.getLogger(__name__)

Places = tuple[tuple[int, ...], ...]


def best_experts(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    total: int,
    count: int,
    batches: Iterable[Mapping[str, Any]] | None,
    layers: Sequence[str],
) -> tuple[Places, Places]:
    """Which experts stay in each layer, and which of them because nothing is known of them.

    An expert that no token reached is not removed: that these batches do not need it does not say that none will.

    Args:
        model: runs over the batches.
        modules: the experts of each layer, by name.
        total: experts of a layer.
        count: how many stay.
        batches: see `expert_saliency`.
        layers: what a message calls them.

    Raises:
        CompressionError: there are no batches, or too many experts saw no token.
    """
    if batches is None:
        raise CompressionError(
            f"experts={count}: what experts are worth shows in how tokens are routed, and not in their weights; give"
            " calibration, batches of the model's arguments"
        )
    scores = expert_saliency(model, modules, total, batches)
    unseen = tuple(tuple(torch.nonzero(seen == 0).flatten().tolist()) for _, seen in scores)
    most = max(range(len(unseen)), key=lambda place: len(unseen[place]))
    if len(unseen[most]) > count:
        raise CompressionError(
            f"experts={count}: in {layers[most]} no token of the batches reached {len(unseen[most])} of {total} experts,"
            f" and one of which nothing is known stays; give more batches, or keep at least {len(unseen[most])}"
        )
    kept = []
    for layer, (score, _), never in zip(layers, scores, unseen, strict=True):
        if never:
            logger.warning("%s: no token of the batches reached expert %s; kept", layer, ", ".join(map(str, never)))
        first = score.index_fill(0, torch.tensor(never, dtype=torch.long), torch.finfo(score.dtype).max)
        kept.append(most_important(first, count, f"{layer}, experts"))
    return tuple(kept), unseen


@torch.no_grad()
def expert_saliency(
    model: nn.Module, modules: Mapping[str, nn.Module], total: int, batches: Iterable[Mapping[str, Any]]
) -> list[tuple[Tensor, Tensor]]:
    """S_j = mean over the tokens x routed to expert j of g_j(x) * ||f_j(x)||: router weight times the norm of its output.

    Source: Lasby et al. 2025, REAP the Experts (arXiv 2510.13999).

    Args:
        model: runs over the batches, in evaluation mode.
        modules: the experts of each layer, by name; see `Experts`.
        total: experts of a layer.
        batches: keyword arguments of the model; of several processes each brings its own.

    Returns:
        Of each layer the scores, (total,) fp64, and how many tokens reached each expert, (total,); 0 where none.
    """
    sums = {name: torch.zeros(total, dtype=torch.float64) for name in modules}
    counts = {name: torch.zeros(total, dtype=torch.long) for name in modules}
    masks: list[Tensor] = []

    def hook_of(name: str) -> Any:
        def hook(experts: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            tokens, chosen, weights = args
            real = next((mask.reshape(-1) for mask in masks if mask.numel() == len(tokens)), None)
            for expert in range(total):
                row, place = torch.where(chosen == expert)
                if real is not None:
                    inside = real.to(row.device)[row]
                    row, place = row[inside], place[inside]
                if len(row):
                    # By itself and with weight 1, past the hooks, of which this is one.
                    only = chosen.new_full((len(row), 1), expert)
                    gave = experts.forward(tokens[row], only, weights.new_ones(len(row), 1))
                    size = gave.float().norm(dim=-1) * weights[row, place].float()
                    sums[name][expert] += size.sum(dtype=torch.float64).cpu()
                    counts[name][expert] += len(row)

        return hook

    hooks = [experts.register_forward_hook(hook_of(name)) for name, experts in modules.items()]
    with removed_afterwards(hooks), evaluating_without_gradients(model):
        device = next(model.parameters()).device
        for batch in batches:
            masks[:] = masks_of(model, batch)
            model(**forward_arguments(model, on_device(batch, device)))
    everyone = _distributed.gather((sums, counts))
    found = []
    for name in modules:
        seen = torch.stack([number[name] for _, number in everyone]).sum(0)
        found.append((torch.stack([one[name] for one, _ in everyone]).sum(0) / seen.clamp(min=1), seen))
    return found
