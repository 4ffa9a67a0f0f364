"""One-shot pruning."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._kinds import require
from hf_compress._modules.adapters import require_lora
from hf_compress._modules.finite import check_finite
from hf_compress._modules.ignored import say_left_out, say_unmatched
from hf_compress._modules.matching import Selection
from hf_compress._modules.matrix import own_matrix
from hf_compress._modules.plain_model import is_adapted, require_dense
from hf_compress._sharding.contract import check_supported, reshard
from hf_compress.pruning.compute import apply_mask, compute_masks, zeros_of
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.fit import check_fit, chosen
from hf_compress.pruning.in_order import check_in_order, prune_in_order
from hf_compress.pruning.kept_zeros import announce_kept
from hf_compress.pruning.reconstruction import Reconstruction, check_reconstruction
from hf_compress.pruning.solver import Solver
from hf_compress.pruning.statistics import Batches, Collected, refuse_accumulated, statistics_for


@torch.no_grad()
def prune(
    model: nn.Module,
    pruning: Pruning,
    calibration: Batches | Collected | None = None,
    *,
    solver: Solver | None = None,
    in_order: bool = False,
    reconstruct: Reconstruction | None = None,
) -> dict[str, Tensor]:
    """Prune in place, at once, to the schedule's final sparsity. Zeros that are there stay, and count first.

    Args:
        model: changed in place. Of one with LoRA adapters the base, whose names targets and ignore mean; statistics are
            those with the adapters at work, and `merge_and_keep_zeros` merges them into what stays.
        pruning: what and how; of the schedule only `final` counts. With masks="from_zeros" no weight changes, and the masks
            are those that the model's zeros draw.
        calibration: for a solver and a criterion that needs statistics: batches of the model's keyword arguments to collect
            them on, or, not in order, what `collect` returned for them. Others do not look at it.
        solver: chooses instead of the criterion, and corrects the weights that stay.
        in_order: measure each block with the inputs that the pruned blocks before it give, and not all at once on the model
            as it is; see `collect_in_order`. A solver and `reconstruct` always do.
        reconstruct: fit the weights that stay, part by part of each block; see `Reconstruction`.

    Returns:
        The masks by module name, (O, I) bool, True = keep; of a sharded model this process's parts.

    Raises:
        CompressionError: nothing matches, the statistics are missing, the criterion scores by what a training accumulates,
            the pattern does not fit, a weight is NaN or infinite, the model carries adapters that are not LoRA, or is
            quantized or sharded in a way that hides its weights; nothing was changed. In order, statistics that are not
            finite are found when some blocks are pruned.
    """
    require(pruning, Pruning, "prune(model, Pruning(schedule=Constant(final=0.5)))")
    refuse_accumulated(pruning.criterion)
    require_lora(model, "pruning")
    require_dense(model, "pruning")
    check_supported(model, "pruning")
    reshard(model)
    selection = chosen(model, pruning)
    modules = selection.modules
    say_unmatched(model, pruning.ignore, "pruning")
    say_left_out(selection.left_out, "pruning")
    check_fit(modules, pruning)
    if pruning.keeps_zeros:
        return _kept(model, selection, pruning, solver is not None or reconstruct is not None)
    if solver is not None or reconstruct is not None or (in_order and pruning.needs):
        if is_adapted(model):
            raise CompressionError(
                "solver, in_order and reconstruct go block by block, which a model with adapters does not; prune the base"
                " with them before it is wrapped, or leave them out"
            )
        check_in_order(modules, pruning, solver)
        check_finite(model)  # what a later block holds is refused before an earlier one is pruned
        if reconstruct is not None:
            check_reconstruction()
        batches = _batches(calibration, pruning, solver)
        return prune_in_order(model, modules, pruning, batches, solver, reconstruct)
    stats = statistics_for(model, modules, pruning, calibration)
    masks = compute_masks(modules, pruning, pruning.final, stats, held=zeros_of(modules))
    for name, module in modules.items():
        apply_mask(module, masks[name])
    return masks


def _kept(model: nn.Module, selection: Selection, pruning: Pruning, corrects: bool) -> dict[str, Tensor]:
    """The masks of a job that prunes nothing.

    Raises:
        CompressionError: nothing is zero, or what is left is to be corrected for what goes.
    """
    if corrects:
        raise CompressionError(
            "masks=from_zeros prunes nothing here, so a solver or reconstruct has nothing to correct; leave it out, or"
            " leave masks out to prune"
        )
    modules = selection.modules
    held = zeros_of(modules)
    announce_kept(model, modules, held, pruning.ignore, selection.left_out)
    return {
        name: held[name] if name in held else torch.ones_like(own_matrix(module), dtype=torch.bool)
        for name, module in modules.items()
    }


def _batches(calibration: Batches | Collected | None, pruning: Pruning, solver: Solver | None) -> Batches:
    """What is measured on, block by block.

    Raises:
        CompressionError: there is nothing, or statistics that were collected at once.
    """
    wants: Solver | Criterion = pruning.criterion if solver is None else solver
    if calibration is None:
        what = f"{wants.name} needs {', '.join(wants.needs)}" if wants.needs else "reconstruct needs outputs"
        raise CompressionError(
            f"calibration: {what}, measured on examples; give prune() batches, a list of mappings of tensors"
        )
    if isinstance(calibration, Mapping):
        raise CompressionError(
            "calibration holds statistics that were collected at once, and in order each block is measured behind pruned"
            " ones; give batches (one batch as [batch])"
        )
    return calibration
