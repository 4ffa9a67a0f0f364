"""Choosing what stays: by a plan's counts, or by the counts within a budget that lose the least."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._kinds import require
from hf_compress.architectures.architecture import architecture_of
from hf_compress.pruning.shrink.budget import Counts, Within, one_stack, plan_of, within
from hf_compress.pruning.shrink.choice import Candidate, ShrinkChoice
from hf_compress.pruning.shrink.choose import Batches, check_model, choose_counted, listed
from hf_compress.pruning.shrink.dimensions import dimensions_of
from hf_compress.pruning.shrink.importance import most_important
from hf_compress.pruning.shrink.influence import block_influence
from hf_compress.pruning.shrink.keep_best import expert_unit_scores, group_scores, unit_scores
from hf_compress.pruning.shrink.mean_loss import mean_loss
from hf_compress.pruning.shrink.one_by_one import removed_one_by_one, without
from hf_compress.pruning.shrink.pieces import KeptStack
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.smaller_model import smaller_model

logger = logging.getLogger(__name__)


def choose_parts(model: Any, plan: ShrinkPlan, calibration: Batches | None = None) -> ShrinkChoice:
    """Choose what stays of a model, and say what that saves; nothing is changed.

    Feed-forward units and heads are chosen by what they write on the calibration batches (`unit_writing`,
    `group_writing`), without batches by the norms of their weights (`unit_importance`, `group_importance`); each layer
    keeps its own. Channels of the hidden states, the same for the whole model, are chosen by what its norms give on the
    batches (`channel_activity`), without batches by the weights that go with them (`channel_norm`). The plan's `importance`
    chooses between these and how the loss would change (`loss_change`). Experts are chosen by what they add to the tokens
    that are routed to them (`expert_saliency`). Layers are chosen by their influence on the batches (`block_influence`), or
    one by one by the loss without them (`removed_one_by_one`), unless the plan names their places. Depth comes first: all
    else is measured on the model without the layers that go.

    A budget (`parameters`, `macs`) leaves the counts open that the plan does not name. Every legal number of layers and
    heads is paired with the most units that fit (`within`), the few of these that lose the least importance
    (`importance_lost`) are shrunk on trial, and the one with the least loss on the batches (`mean_loss`) is taken.

    Args:
        model: a transformers model of a type that `hf_compress/architectures` knows, whole and with dense weights.
        plan: how much stays.
        calibration: batches of the model's keyword arguments; of several processes each brings its own, and all choose
            alike.

    Returns:
        What `shrink` takes in the place of the plan; `describe()` says it in words.

    Raises:
        CompressionError: see `shrink`.
    """
    require(plan, ShrinkPlan, "choose_parts(model, ShrinkPlan(feed_forward=0.5))")
    plan.require_parts()
    if not plan.has_budget:
        return choose_counted(model, plan, calibration)
    check_model(model)
    batches = listed(calibration)
    if batches is None:
        raise CompressionError(
            f"{plan.needs_calibration} is a budget, and what is within it is compared by the loss on batches; give"
            " calibration, or counts"
        )
    allowed = within(model, plan)
    parts = measure_parts(model, batches)
    tried, dense = [], mean_loss(model, batches)
    promising = most_promising(allowed, parts, plan.candidates)
    removed: tuple[tuple[int, float], ...] = ()
    if plan.depth == "loss" and plan.layers is None:
        removed = removed_one_by_one(model, batches, allowed.whole.layers - min(counts.layers for counts in promising))
    for counts in promising:
        gone = removed[: allowed.whole.layers - counts.layers] if removed else None
        layers = _layers(plan, parts, counts.layers) if gone is None else without(allowed.whole.layers, gone)
        choice = choose_counted(model, plan_of(plan, counts, layers), batches)
        if gone is not None:
            choice = replace(choice, removed={choice.made_for.stacks[0].name: gone})
        if any(getattr(choice.after, what) > most for what, most in allowed.limits.items()):
            logger.warning("%s is larger than was reckoned, and no longer within the budget: left out", counts)
            continue
        small = smaller_model(model, architecture_of(model), choice.made_for, choice.kept, shared=True)
        tried.append((mean_loss(small, batches), counts, choice))
        logger.info("%s: loss %.4f, dense %.4f", allowed.in_words(counts), tried[-1][0], dense)
    if not tried:
        raise CompressionError("no model within the budget was as small as was reckoned; give counts")
    best = min(range(len(tried)), key=lambda place: tried[place][0])
    candidates = tuple(
        Candidate(
            counts=str(counts),
            parameters=choice.after.parameters,
            macs=choice.after.macs,
            lost=importance_lost(counts, parts),
            loss=loss,
            taken=place == best,
        )
        for place, (loss, counts, choice) in enumerate(tried)
    )
    taken = tried[best][2]
    influence = None if taken.removed else {taken.made_for.stacks[0].name: tuple(parts.influence)}
    return replace(taken, influence=influence, candidates=candidates, dense_loss=dense)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What every part of a model is worth, measured on the whole model.

    Attributes:
        influence: of each layer.
        units: of each layer, the squares of what its units write, (units,); where it has experts, of the largest units of
            all experts together, of their second largest, and so on.
        groups: the same of its groups of heads.
        per_group: query heads in a group.
    """

    influence: list[float]
    units: list[Tensor]
    groups: list[Tensor]
    per_group: int


def measure_parts(model: Any, batches: Sequence[Mapping[str, Any]]) -> Parts:
    """Run over the batches three times: for layers, for units, for heads."""
    architecture = architecture_of(model)
    dimensions = one_stack(dimensions_of(model, architecture))
    (found,) = architecture.found(model)

    kept, listed = KeptStack(layers=tuple(range(dimensions.layers))), list(batches)
    if found.stack.feed_forward.experts:
        each = [
            score.sort(dim=1, descending=True).values
            for score in expert_unit_scores(model, found, kept, listed, "activations")
        ]
        units = [score.square().double().sum(0).cpu() for score in each]
    else:
        units = [score.square().double().cpu() for score in unit_scores(model, found, kept, listed, "activations")]
    groups = group_scores(model, found, found.stack.attention, dimensions, kept, listed, "activations")
    return Parts(
        influence=block_influence(model, list(found.blocks), batches),
        units=units,
        groups=[score.square().double().cpu() for score in groups],
        per_group=dimensions.per_group,
    )


def importance_lost(counts: Counts, parts: Parts) -> float:
    """1 - sum_l i_l / sum_m i_m * (U_l + G_l) / 2, l over the layers that stay and m over all.

    i_l is the layer's influence; U_l and G_l are the shares of what its units and its groups of heads write, as squares of
    norms, that comes of as many of the largest as stay. So a layer that goes loses its influence, and one that stays loses
    of its half of the feed-forward part and its half of the attention what no longer is written.

    Args:
        counts: that stay.
        parts: of the model.

    Returns:
        In [0, 1]; 0 where all stay.
    """
    total = sum(parts.influence)
    kept = 0.0
    for layer in most_influential(parts, counts.layers):
        units = _share(parts.units[layer], counts.units)
        groups = _share(parts.groups[layer], counts.heads // parts.per_group)
        kept += parts.influence[layer] / total * (units + groups) / 2
    return 1 - kept


def most_influential(parts: Parts, count: int) -> tuple[int, ...]:
    """The places of so many layers, ascending."""
    return most_important(torch.tensor(parts.influence, dtype=torch.float64), count, "layers")


def _share(worth: Tensor, count: int) -> float:
    """Of the sum, what the largest make."""
    total = float(worth.sum())
    return float(worth.sort(descending=True).values[:count].sum()) / total if total else 1.0


def most_promising(allowed: Within, parts: Parts, count: int) -> list[Counts]:
    """So many that lose the least importance, the least first.

    Args:
        allowed: by the budget.
        parts: what they are worth.
        count: how many.
    """
    return sorted(allowed.allowed, key=lambda counts: importance_lost(counts, parts))[:count]


def _layers(plan: ShrinkPlan, parts: Parts, count: int) -> tuple[int, ...]:
    return plan.layers if isinstance(plan.layers, tuple) else most_influential(parts, count)
