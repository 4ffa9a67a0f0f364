"""Which zeros of a model are taken as pruned, said before training keeps them."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.adapters import base_modules
from hf_compress._modules.matrix import channel_rows, matrix_size, own_matrix
from hf_compress._modules.module_kind import takes_ids
from hf_compress._modules.packed import parameter_of
from hf_compress._modules.parts import across_matrix
from hf_compress._problems import and_more
from hf_compress._sharding.across import ALONE
from hf_compress._sharding.contract import local

logger = logging.getLogger(__name__)

_BY_CHANCE = 0.01
"""A share of zeros below which a tensor looks dense: training in 16 bits brings some."""


@torch.no_grad()
def announce_kept(
    model: nn.Module, modules: Mapping[str, nn.Module], keep: Mapping[str, Tensor], ignore: Sequence[str]
) -> None:
    """Say layer by layer which zeros are kept, and which are not: those of layers that are zero throughout, and of weights
    that the targets do not reach.

    Args:
        model: the whole of it; every process must call it.
        modules: the matched modules by name.
        keep: the masks that their zeros draw, as `zeros_of` gives them.
        ignore: what the job ignores: named there, zeros that are not kept need no word.

    Raises:
        CompressionError: no module has zeros that could be kept.
    """
    sizes = {name: matrix_size(module) for name, module in modules.items()}
    counts = {name: across_matrix(modules[name]).total(int((~mask).count_nonzero())) for name, mask in keep.items()}
    empty = [
        name
        for name, module in modules.items()
        if name not in keep and not across_matrix(module).total(int(own_matrix(module).count_nonzero()))
    ]
    if not counts:
        also = f" ({and_more(empty)} are zero throughout, which is new and not pruned)" if empty else ""
        raise CompressionError(
            f"pruning.masks: from_zeros keeps the zeros of a pruned model, and none of the {len(modules)} layers that"
            f" targets and ignore choose has any{also}; give a pruned checkpoint or other targets, or leave masks out"
        )
    if not _distributed.is_main():
        return
    for name, count in counts.items():
        shape = ", 2:4" if _is_two_four(modules[name], keep[name]) else ""
        logger.info(
            "kept at zero: %d of %d weights of %s (%.2f %%%s)", count, sizes[name], name, 100 * count / sizes[name], shape
        )
    total, zeros = sum(sizes.values()), sum(counts.values())
    logger.info("kept at zero: %d of %d weights in %d of %d layers", zeros, total, len(counts), len(modules))
    if zeros < _BY_CHANCE * total:
        logger.warning("only %d of %d weights are zero and kept so; is it the pruned checkpoint?", zeros, total)
    if empty:
        logger.warning("%s: zero throughout, which is taken as new and not as pruned; it trains", and_more(empty))
    _say_not_kept(model, modules, ignore)


def _is_two_four(module: nn.Module, keep: Tensor) -> bool:
    """Whether at most two of every four neighbours are there; not asked of a part of a layer."""
    if across_matrix(module) is not ALONE or takes_ids(module):
        return False
    rows = channel_rows(module, keep)
    return rows.shape[1] % 4 == 0 and bool((rows.unflatten(1, (-1, 4)).sum(-1) <= 2).all())


def _say_not_kept(model: nn.Module, modules: Mapping[str, nn.Module], ignore: Sequence[str]) -> None:
    """Name the matrices with zeros that no mask will hold; rows of zeros are padding, or new, and do not count."""
    from compressed_tensors.utils.match import is_match

    reached = {id(parameter_of(module)) for module in modules.values()}
    found = {}
    for name, module in base_modules(model).items():
        if ignore and is_match(name, module, list(ignore)):
            continue
        for own, parameter in module.named_parameters(recurse=False):
            if id(parameter) in reached or parameter.dim() < 2:
                continue
            reached.add(id(parameter))
            zero = local(parameter) == 0
            share = (zero & ~zero.all(-1, keepdim=True)).float().mean().item() if zero.numel() else 0.0
            if share > _BY_CHANCE:
                found[f"{name}.{own} ({type(module).__name__}, {100 * share:.1f} %)"] = share
    if found:
        logger.warning(
            "zeros that pruning.targets does not reach, so that training may fill them: %s; add the class or the name to"
            " targets to keep them",
            and_more(list(found)),
        )
