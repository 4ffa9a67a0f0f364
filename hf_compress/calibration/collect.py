"""Statistics of a model on data, all in one pass."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._modules.matching import match_modules
from hf_compress._modules.modes import evaluation_mode
from hf_compress._modules.module_kind import kind_of
from hf_compress._modules.names import canonical_name
from hf_compress._progress import progress as shown
from hf_compress._sharding.contract import compute_device, is_sharded
from hf_compress.calibration.gradients import ObservedGradients, trained_parameters
from hf_compress.calibration.inputs import ObservedInputs
from hf_compress.calibration.statistic import Labels, Statistic, statistics_of
from hf_compress.calibration.statistics.fisher import FisherDiagonal
from hf_compress.calibration.statistics.gram import GramMatrix
from hf_compress.calibration.together import run_together
from hf_compress.calibration.totals import Totals

logger = logging.getLogger(__name__)

Collected = dict[str, dict[str, Tensor]]
"""Statistic name -> parameter name -> tensor."""


def collect(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    needs: Sequence[str | Statistic],
    *,
    modules: Sequence[str] | Mapping[str, nn.Module] | None = None,
    ignore: Sequence[str] = (),
    progress: str = "",
) -> Collected:
    """Measure everything that is needed in one pass over the data.

    Runs in evaluation mode; weights, modes and gradients end as they were. Statistics of inputs see each batch whole,
    `attention_mask` and `decoder_attention_mask` (B, T) leave padding out. Statistics of gradients see one example at a
    time. Where several processes form a group, each passes its own batches and all get what all of them saw.

    Args:
        model: a transformers model, on the device to compute on.
        batches: keyword arguments of the model, (B, ...) tensors; moved to its device. `labels` (B,) or (B, T), -100 = no
            label, say for gradients of token models which tokens count.
        needs: statistics, or names of statistics, which then have their default settings.
        modules: targets as in `pruning.targets` (class names, module names, `re:` patterns), or modules by name. None =
            every Linear and Conv1D whose weight is not shared with an embedding; gradients then come for all
            floating-point parameters, otherwise for the weights of these modules.
        ignore: the syntax of targets; wins over `modules`.
        progress: what a progress bar of the main process says; none without.

    Returns:
        Statistic name -> parameter name -> tensor of the statistic's shape. A shared parameter comes once. Layers that no
        batch reached are left out, with a warning.

    Raises:
        CompressionError: an unknown statistic, nothing matches, there are no batches or none with what a statistic needs,
            it is unclear which mask belongs to a layer, a statistic is not finite, or one of gradients is asked of a
            sharded model.
    """
    statistics = statistics_of(needs)
    chosen = _chosen(model, modules, ignore)
    inputs = ObservedInputs(chosen, [one for one in statistics if not one.needs_gradient])
    parameters = trained_parameters(model)
    if modules is not None or ignore:
        names = {id(getattr(module, "weight", None)): f"{name}.weight" for name, module in chosen.items()}
        parameters = {names[id(one)]: one for one in parameters.values() if id(one) in names}
    gradients = [ObservedGradients(model, parameters, one) for one in statistics if one.needs_gradient]
    sharded = is_sharded(model)
    if sharded and gradients:
        raise CompressionError(
            f"{gradients[0].totals.statistic.name} looks at the gradient of one example, and the gradients of a sharded"
            " model are those of all processes; collect it in one process or under DDP"
        )
    device = compute_device(next(model.parameters()))
    num_batches = 0
    with evaluation_mode(model):
        for batch, counts in run_together(shown(batches, progress, leave=False), sharded):
            moved = on_device(batch, device)
            if not counts:
                model(**moved)
                continue
            if inputs.totals:
                with inputs.watching(model, moved):
                    model(**moved)
            for each in gradients:
                each.observe(moved)
            num_batches += 1
    if not sum(_distributed.gather(num_batches)):
        raise CompressionError("batches is empty; statistics need examples")
    for each in gradients:
        each.close()
    totals = [*inputs.totals, *(each.totals for each in gradients)]
    return finished(totals, chosen, device)


def finished(totals: Sequence[Totals], layers: Iterable[str], device: torch.device) -> Collected:
    """What all processes have observed, by statistic and parameter; layers that nothing reached are named in the log.

    Args:
        totals: of this process, one for each statistic.
        layers: that were looked at.
        device: where this process computes.
    """
    found: Collected = {}
    for each in totals:
        each.add_up(device)
        values = each.finish()
        if not each.statistic.needs_gradient:
            _say_unreached(each.statistic.name, [name for name in layers if name not in values])
            values = {f"{name}.weight": value for name, value in values.items()}
        found[each.statistic.name] = values
    return found


def collect_fisher(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    labels: Labels = "expected",
    shift: bool | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """`collect` for the Fisher alone: parameter name -> fp32 tensor of its shape.

    Args:
        model: with a head for classification or tokens.
        batches: see `collect`.
        labels: whose y; see `GradientStatistic`. "expected" is for classifiers only.
        shift: token t is predicted from the tokens before t; None = for the causal language models of transformers.
        seed: of "sampled".

    Raises:
        CompressionError: there are no examples or labels, the output has no logits, or "expected" for a token model; the
            result is not finite.
    """
    return collect(model, batches, [FisherDiagonal(labels=labels, shift=shift, seed=seed)])["fisher"]


def collect_gram(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    modules: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Tensor]:
    """`collect` for gram matrices alone: weight name -> (I, I) fp32.

    Args:
        model: see `collect`, as are the others.
        batches: keyword arguments of the model.
        modules: which layers.
        ignore: which of them not.

    Raises:
        CompressionError: see `collect`.
    """
    return collect(model, batches, [GramMatrix()], modules=modules, ignore=ignore)["gram"]


def _chosen(
    model: nn.Module, modules: Sequence[str] | Mapping[str, nn.Module] | None, ignore: Sequence[str]
) -> dict[str, nn.Module]:
    if isinstance(modules, Mapping):
        chosen = dict(modules)
    else:
        chosen = _linear_modules(model) if modules is None else match_modules(model, modules, (), "modules")
    if ignore:
        kept = match_modules(model, list(chosen), ignore, "modules")
        chosen = {name: module for name, module in chosen.items() if name in kept}
    return chosen


def _linear_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Linear and Conv1D by name, without those whose weight is an embedding's."""
    embedded = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    found = {}
    for name, module in model.named_modules():
        kind = kind_of(module)
        linear = kind is not None and kind.multiplies and not kind.has_kernel
        if linear and id(module.weight) not in embedded:
            found[canonical_name(name)] = module
    return found


def _say_unreached(statistic: str, names: Sequence[str]) -> None:
    if names:
        logger.warning("no %s for %d layers that no batch reached, e.g. %s", statistic, len(names), names[0])
