"""The blocks of a model as it runs through them: which layers lie in which, in which order, and which feeds the next."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._modules.hooks import removed_afterwards
from hf_compress._modules.names import canonical_name


@dataclass(kw_only=True)
class Stage:
    """Layers that are looked at together.

    Attributes:
        name: of the block that holds them; empty for layers outside of blocks.
        block: that holds them; None for layers outside.
        layers: by name.
        takes: where the block takes the hidden states: the place among its arguments, or a name; None outside of chains.
    """

    name: str = ""
    block: nn.Module | None = None
    layers: dict[str, nn.Module] = field(default_factory=dict)
    takes: int | str | None = None


@dataclass(kw_only=True)
class _Seen:
    """A module's calls in one pass: how many, and what the last one was given and gave."""

    calls: int = 0
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    gave: Tensor | None = None


def stages_in_order(model: nn.Module, batch: Mapping[str, Any], modules: Mapping[str, nn.Module]) -> list[list[Stage]]:
    """The stages of a model in the order of a forward pass, those together that form a chain.

    A chain is blocks of which each is called once, with what the one before it returned. It can be run block by block. Any
    other stage is a list of its own.

    Args:
        model: in evaluation mode; it runs once.
        batch: keyword arguments of it, on its device.
        modules: the layers that are looked at, by name. One that the pass does not reach comes last.
    """
    blocks = dict(_blocks(model, modules))
    inside = {name: next((block for block in blocks if name.startswith(f"{block}.")), None) for name in modules}
    watched = {**blocks, **{name: modules[name] for name, block in inside.items() if block is None}}
    seen = _one_pass(model, batch, watched)
    found: list[list[Stage]] = []
    for name in [*seen, *(name for name in watched if name not in seen)]:
        if name not in blocks:
            if not found or found[-1][-1].block is not None:
                found.append([Stage()])
            found[-1][-1].layers[name] = modules[name]
            continue
        own = {layer: modules[layer] for layer, block in inside.items() if block == name}
        stage = Stage(name=name, block=blocks[name], layers=own)
        before = found[-1][-1] if found else Stage()
        if before.block is not None:
            stage.takes = _fed_at(seen.get(before.name), seen.get(name))
        if stage.takes is None:
            found.append([stage])
            continue
        before.takes = stage.takes if before.takes is None else before.takes
        if before.takes == stage.takes:
            found[-1].append(stage)
        else:
            stage.takes = None
            found.append([stage])
    return found


def forward_arguments(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch as a pass takes it that is to be run again: without a cache."""
    cached = "use_cache" in inspect.signature(model.forward).parameters
    return {**batch, "use_cache": False} if cached else dict(batch)


def first_tensor(value: Any) -> Tensor | None:
    """What a block hands on: its output, or the first tensor of several."""
    if isinstance(value, Tensor):
        return value
    values: Sequence[Any] = list(value.values()) if isinstance(value, Mapping) else value
    return next((one for one in values if isinstance(one, Tensor)), None) if isinstance(values, list | tuple) else None


def _blocks(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Members of the outermost lists of modules of one class that hold some of the layers."""
    taken: list[str] = []
    for given, module in model.named_modules():
        name = canonical_name(given)
        if not isinstance(module, nn.ModuleList) or not len(module) or any(name.startswith(f"{one}.") for one in taken):
            continue
        if len({type(one) for one in module}) > 1 or not any(layer.startswith(f"{name}.") for layer in modules):
            continue
        taken.append(name)
        for place, block in enumerate(module):
            if any(layer.startswith(f"{name}.{place}.") for layer in modules):
                yield f"{name}.{place}", block


def _one_pass(model: nn.Module, batch: Mapping[str, Any], watched: Mapping[str, nn.Module]) -> dict[str, _Seen]:
    """What each module was given and gave, by name, in the order of the first calls."""
    seen: dict[str, _Seen] = {}

    def hooks_of(name: str, module: nn.Module) -> list[Any]:
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            one = seen.setdefault(name, _Seen())
            one.calls, one.args, one.kwargs = one.calls + 1, args, kwargs

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            seen[name].gave = first_tensor(output)

        return [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]

    hooks = [hook for name, module in watched.items() for hook in hooks_of(name, module)]
    with removed_afterwards(hooks), torch.no_grad():
        model(**forward_arguments(model, batch))
    return seen


def _fed_at(before: _Seen | None, after: _Seen | None) -> int | str | None:
    """Where one takes what the other gave; None where it does not, or one of them is called twice."""
    if before is None or after is None or before.calls != 1 or after.calls != 1 or before.gave is None:
        return None
    given: list[tuple[int | str, Any]] = [*enumerate(after.args), *after.kwargs.items()]
    for place, value in given:
        if isinstance(value, Tensor) and value.shape == before.gave.shape and torch.equal(value, before.gave):
            return place
    return None
