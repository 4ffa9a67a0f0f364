"""Which zeros of a model are taken as pruned, said before training keeps them."""

import logging
from collections.abc import Mapping, Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.adapters import base_modules
from hf_compress._modules.matching import DEFAULT_IGNORE, Selection
from hf_compress._modules.matrix import channel_rows, matrix_size, own_matrix
from hf_compress._modules.module_kind import takes_ids
from hf_compress._modules.packed import parameter_of
from hf_compress._modules.parts import across_matrix
from hf_compress._problems import and_more
from hf_compress._sharding.across import ALONE
from hf_compress._sharding.contract import local
from hf_compress.pruning.compute import zeros_of

logger = logging.getLogger(__name__)

_BY_CHANCE = 0.01
"""A share of zeros below which a tensor looks dense: training in 16 bits brings some."""


class NothingKeptError(CompressionError):
    """The model has no zeros that could be kept."""


def check_kept(model: nn.Module, selection: Selection, ignore: Sequence[str]) -> None:
    """Refuse a model in which nothing could be kept.

    Args:
        model: the whole of it, with its weights.
        selection: what the job chooses in it.
        ignore: what the job ignores.

    Raises:
        NothingKeptError: no module has zeros that could be kept.
    """
    if not zeros_of(selection.modules):
        _refuse(model, selection.modules, selection.left_out, ignore)


@torch.no_grad()
def announce_kept(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    keep: Mapping[str, Tensor],
    ignore: Sequence[str],
    left_out: Mapping[str, str],
) -> None:
    """Say layer by layer which zeros are kept, and which are not: those of layers that are zero throughout, and of weights
    that the targets do not reach.

    Args:
        model: the whole of it; every process must call it.
        modules: the matched modules by name.
        keep: the masks that their zeros draw, as `zeros_of` gives them.
        ignore: what the job ignores: named there, zeros that are not kept need no word, but where the default names them.
        left_out: modules that the targets name and that cannot be pruned -> why.

    Raises:
        NothingKeptError: no module has zeros that could be kept.
    """
    sizes = {name: matrix_size(module) for name, module in modules.items()}
    counts = {name: across_matrix(modules[name]).total(int((~mask).count_nonzero())) for name, mask in keep.items()}
    empty = _empty(modules, keep)
    if not counts:
        _refuse(model, modules, left_out, ignore)
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
    for advice, places in _not_kept(model, modules, ignore, left_out).items():
        logger.warning(
            "zeros that pruning does not reach, so that training may fill them: %s; %s", and_more(places), advice
        )


def _empty(modules: Mapping[str, nn.Module], keep: Mapping[str, Tensor]) -> list[str]:
    """Those that are zero throughout."""
    return [
        name
        for name, module in modules.items()
        if name not in keep and not across_matrix(module).total(int(own_matrix(module).count_nonzero()))
    ]


def _refuse(
    model: nn.Module, modules: Mapping[str, nn.Module], left_out: Mapping[str, str], ignore: Sequence[str]
) -> NoReturn:
    """None of the modules has zeros."""
    empty = _empty(modules, {})
    also = f" ({and_more(empty)} are zero throughout, which is new and not pruned)" if empty else ""
    elsewhere = [f"{and_more(places)} ({advice})" for advice, places in _not_kept(model, modules, ignore, left_out).items()]
    there = f"; there are some in {' and '.join(elsewhere)}" if elsewhere else ""
    computed = [f"{name}: {reason}" for name, reason in left_out.items() if not elsewhere]
    left = f"; left out are {and_more(computed)}" if computed else ""
    raise NothingKeptError(
        f"pruning.masks: from_zeros keeps the zeros of a pruned model, and none of the {len(modules)} layers that"
        f" targets and ignore choose has any{also}{there}{left}; give a pruned checkpoint or other targets, or leave masks"
        " out"
    )


def _is_two_four(module: nn.Module, keep: Tensor) -> bool:
    """Whether at most two of every four neighbours are there; not asked of a part of a layer."""
    if across_matrix(module) is not ALONE or takes_ids(module):
        return False
    rows = channel_rows(module, keep)
    return rows.shape[1] % 4 == 0 and bool((rows.unflatten(1, (-1, 4)).sum(-1) <= 2).all())


def _not_kept(
    model: nn.Module, modules: Mapping[str, nn.Module], ignore: Sequence[str], left_out: Mapping[str, str]
) -> dict[str, list[str]]:
    """The matrices with zeros that no mask will hold, by what can be done about it.

    A matrix that is zero throughout is new, and vectors of zeros in an embedding are padding: neither counts.
    """
    from compressed_tensors.utils.match import is_match

    reached = {id(parameter_of(module)) for module in modules.values()}
    found: dict[str, list[str]] = {}
    own_ignore = [pattern for pattern in ignore if pattern not in DEFAULT_IGNORE]
    for name, module in base_modules(model).items():
        if own_ignore and is_match(name, module, own_ignore):
            continue
        for own, parameter in module.named_parameters(recurse=False):
            if id(parameter) in reached or parameter.dim() < 2:
                continue
            reached.add(id(parameter))
            zero = local(parameter) == 0
            if takes_ids(module):
                zero &= ~zero.all(-1, keepdim=True)
            share = zero.float().mean().item() if zero.numel() else 0.0
            if _BY_CHANCE < share < 1:
                advice = left_out.get(name, "add the class or the name to targets to keep them")
                if ignore and name not in left_out and is_match(name, module, list(ignore)):
                    advice = "pruning.ignore names them by default; write ignore: [] to keep them"
                found.setdefault(advice, []).append(f"{name}.{own} ({type(module).__name__}, {100 * share:.1f} %)")
    return found
