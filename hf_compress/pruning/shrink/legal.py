"""How many of each part a plan asks for, where a model can be left with so many."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import Architecture, Stack
from hf_compress.pruning.shrink.check_hidden import check_hidden
from hf_compress.pruning.shrink.dimensions import Dimensions, StackDimensions
from hf_compress.pruning.shrink.pieces import Kept, KeptStack
from hf_compress.pruning.shrink.plan import ShrinkPlan, amount_of, of_stack
from hf_compress.pruning.shrink.smaller_config import legal_heads


def first_ones(model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan) -> Kept:
    """As many of each part as the plan asks for, the first ones, and layers where it names them.

    Raises:
        CompressionError: a number is not legal, with those that are; stacks are told apart that the config does not.
    """
    stacks = [found.stack for found in architecture.found(model)]
    keys = {
        "layers": [stack.num_layers for stack in stacks],
        "feed_forward": [stack.feed_forward.width for stack in stacks],
        "heads": [stack.attention.heads for stack in stacks],
        "experts": [stack.feed_forward.experts or "" for stack in stacks],
    }
    asked = {part: asked_of_each(getattr(plan, part), part, model, dimensions, keys[part]) for part in keys}
    hidden = dimensions.hidden if plan.hidden is None else amount_of(plan.hidden, dimensions.hidden)
    kept = Kept(
        stacks=tuple(
            _first_of_stack(
                model, architecture, stack, dimensions, place, {part: asked[part][place] for part in asked}, hidden
            )
            for place, stack in enumerate(stacks)
        )
    )
    if hidden == dimensions.hidden:
        return kept
    check_hidden(model, architecture, dimensions, kept, hidden)
    return replace(kept, channels=tuple(range(hidden)))


def asked_of_each(asked: Any, part: str, model: Any, dimensions: Dimensions, keys: list[str]) -> list[Any]:
    """What a plan asks of each stack: the same, or what stands beside its name; None where all stays.

    Args:
        asked: of the plan.
        part: its name there.
        model: for messages.
        dimensions: its counts.
        keys: the config's key for it, of each stack.

    Raises:
        CompressionError: the model has one stack, or none of that name, or its config has one number for all.
    """
    names = [stack.name for stack in dimensions.stacks]
    if not isinstance(asked, Mapping):
        return [asked] * len(names)
    kind = type(model).__name__
    if names == [""]:
        raise CompressionError(f"{part}={dict(asked)}: {kind} has one stack of layers; give one number")
    strangers = [name for name in asked if name not in names]
    if strangers:
        raise CompressionError(f"{part}={dict(asked)}: {kind} has no {strangers[0]}; it has {' and '.join(names)}")
    if len(set(keys)) < len(names):
        raise CompressionError(
            f"{part}={dict(asked)}: {type(model.config).__name__} has one number for {' and '.join(names)} ({keys[0]});"
            " give one"
        )
    return [of_stack(asked, name) for name in names]


def _first_of_stack(
    model: Any,
    architecture: Architecture,
    stack: Stack,
    dimensions: Dimensions,
    place: int,
    asked: Mapping[str, Any],
    hidden: int,
) -> KeptStack:
    own = dimensions.stacks[place]
    layers, units, expert_units, groups = tuple(range(own.layers)), None, None, None
    if asked["layers"] is not None:
        layers = _layers(model, architecture, dimensions, own, asked["layers"])
    experts, staying = None, own.experts
    if asked["experts"] is not None:
        staying = _experts(model, architecture, stack, dimensions, own, asked["experts"])
        experts = (tuple(range(staying)),) * len(layers) if staying < own.experts else None
    if asked["feed_forward"] is not None:
        count = _units(dimensions, own, asked["feed_forward"])
        each = (tuple(range(count)),) * len(layers) if count < own.units else None
        units = None if own.experts else each
        expert_units = None if each is None or not own.experts else tuple((one,) * staying for one in each)
    if asked["heads"] is not None:
        share = isinstance(asked["heads"], float)
        count = amount_of(asked["heads"], own.groups) * (own.per_group if share else 1)
        _check_heads(model, architecture, stack, dimensions, own, count, hidden)
        stay = tuple(range(count // own.per_group))
        groups = (stay,) * len(layers) if count < own.heads else None
    cross_groups = groups if stack.cross_attention else None
    return KeptStack(
        layers=layers,
        units=units,
        experts=experts,
        expert_units=expert_units,
        groups=groups,
        cross_groups=cross_groups,
    )


def _units(dimensions: Dimensions, own: StackDimensions, asked: int | float) -> int:
    """How many feed-forward units, of each expert where there are some."""
    step = own.units_step
    count = amount_of(asked, own.units // step) * step if isinstance(asked, float) else asked
    if count == own.units or (count < own.units and count % step == 0):
        return count
    legal = f"1 to {own.units}"
    if step > 1:
        legal = f"multiples of {step} below {own.units}, and {own.units} (torch multiplies experts' rows of whole 16 bytes)"
    raise CompressionError(f"{own.of}feed_forward={count}: {dimensions}; legal: {legal}")


def _experts(
    model: Any, architecture: Architecture, stack: Stack, dimensions: Dimensions, own: StackDimensions, asked: Any
) -> int:
    """How many, where a token finds as many as it goes to."""
    if stack.experts is None:
        raise CompressionError(f"{own.of}experts={asked}: {dimensions}, and no experts; leave them out")
    count, key = amount_of(asked, own.experts), stack.experts.per_token
    least = getattr(architecture.counts(model.config), key)
    if not least <= count <= own.experts:
        raise CompressionError(
            f"{own.of}experts={count}: {dimensions}, and a token goes to {least} of them ({key}); legal: {least} to"
            f" {own.experts}"
        )
    return count


def _layers(
    model: Any,
    architecture: Architecture,
    dimensions: Dimensions,
    own: StackDimensions,
    asked: int | float | tuple[int, ...],
) -> tuple[int, ...]:
    if isinstance(asked, tuple):
        layers = asked
        if layers[-1] >= own.layers:
            raise CompressionError(f"{own.of}layers={list(asked)}: {dimensions}; legal places: 0 to {own.layers - 1}")
    else:
        count = amount_of(asked, own.layers)
        if count > own.layers:
            raise CompressionError(f"{own.of}layers={count}: {dimensions}; legal: 1 to {own.layers}")
        layers = tuple(range(count))
    reason = architecture.place_matters(architecture.counts(model.config))
    first = tuple(range(len(layers)))
    if reason and len(layers) < own.layers and (layers != first or not isinstance(asked, tuple)):
        raise CompressionError(
            f"layers={list(asked) if isinstance(asked, tuple) else asked}: with {reason} a layer computes something else at"
            f" another place, so only the last ones can go; write layers={list(first)}"
        )
    return layers


def _check_heads(
    model: Any,
    architecture: Architecture,
    stack: Stack,
    dimensions: Dimensions,
    own: StackDimensions,
    count: int,
    hidden: int,
) -> None:
    legal = legal_heads(model.config, architecture, stack, own, hidden)
    together = stack.attention.head_size is None and hidden < dimensions.hidden  # `check_hidden` looks at both
    if count in legal or not legal or (together and count < own.heads):  # no number: `check_hidden` says so
        return
    kind, config = architecture.name, type(model.config).__name__
    if stack.attention.head_size is None:
        raise CompressionError(
            f"{own.of}heads={count}: {config} has no key for the size of a head, which is always hidden size / heads, so"
            f" heads cannot be removed by themselves; legal for this {kind}: {own.heads}, all of them"
            + (f"; with hidden={count * own.head_size} heads={count} is possible" if count < own.heads else "")
        )
    rule = f"whole groups of {own.per_group} heads" if own.per_group > 1 else "whole heads"
    raise CompressionError(
        f"{own.of}heads={count}: {dimensions}; legal for this {kind}"
        + (f" with hidden={hidden}" if hidden < dimensions.hidden else "")
        + f": {', '.join(map(str, legal))} ({rule}, in numbers that {config} accepts)"
    )
