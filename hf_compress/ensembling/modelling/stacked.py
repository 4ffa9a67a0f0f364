"""Members of one architecture as one: their weights in one tensor each, and one forward pass for all of them."""

import copy
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from hf_compress._errors import CompressionError, reason_of
from hf_compress.ensembling.modelling.config import EnsembleConfig

ANSWERS = ("logits", "start_logits", "end_logits")
"""What an ensemble reads of a member's output."""
CLOSE = 1e-5
"""Of the largest answer: how far answers may be from those of members asked one by one, in fp32."""
_NAMES = ("id2label", "label2id", "architectures", "transformers_version", "name_or_path", "_name_or_path")
"""What a config says without a forward pass reading it."""


class StackedMembers:
    """The members' weights, (M, ...) in one tensor for each name; the members' own are views of it.

    So no weight is there twice, and what is written into a member in place (`load_state_dict`, an optimizer) is seen. Where
    a member has been given other tensors (`.to(device)`, another head), another module, a hook or dropout, `fits` says so.

    The forward pass is that of a copy of the first member without memory: torch puts the stacked tensors into the module
    that it runs, where another thread that asks the member itself meanwhile would meet them.

    Args:
        members: found to go together by `why_not_stacked`.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        # In inference mode the members' weights would become tensors that can never be trained.
        with torch.inference_mode(False), torch.no_grad():
            parts = [_tensors(member) for member in members]
            self.weights: dict[str, Tensor] = {}
            for name in parts[0]:
                self.weights[name] = torch.stack([own[name] for own in parts])
                for own, row in zip(parts, self.weights[name], strict=True):
                    own[name].data = row
        self._addresses = {name: [row.data_ptr() for row in whole] for name, whole in self.weights.items()}
        self._modules = [list(member.modules()) for member in members]
        self._shell = _without_memory(members[0])

    def fits(self, members: Sequence[nn.Module]) -> bool:
        """Whether these are still the members that were stacked, module by module, and their weights these rows."""
        for place, member in enumerate(members):
            modules, own = list(member.modules()), _tensors(member)
            if len(modules) != len(self._modules[place]) or own.keys() != self._addresses.keys():
                return False
            if any(here is not there for here, there in zip(modules, self._modules[place], strict=True)):
                return False
            if any(module.training for module in modules) or _hooked(member):
                return False
            # The rows are kept, so nothing else can stand at their addresses.
            if any(tensor.data_ptr() != self._addresses[name][place] for name, tensor in own.items()):
                return False
        return True

    def __call__(self, inputs: dict[str, Any]) -> list[Any]:
        """The members' answers to the same inputs, with what `ANSWERS` names as attributes."""

        def answers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
            output = functional_call(self._shell, weights, (), inputs)
            return {name: output[name] for name in ANSWERS if name in output}

        found = vmap(answers)(self.weights)
        rows = next(iter(found.values())).shape[0]
        return [SimpleNamespace(**{name: value[place] for name, value in found.items()}) for place in range(rows)]


def why_not_stacked(members: Sequence[Any], names: Sequence[str], groups: Sequence[int]) -> str:
    """Why members cannot be asked as one; empty where nothing is known that speaks against it.

    Args:
        members: of an ensemble.
        names: theirs.
        groups: which processor makes their inputs.
    """
    first, parts = members[0], [_tensors(member) for member in members]
    addresses = [tensor.data_ptr() for own in parts for tensor in own.values() if tensor.numel()]
    # By name: a parametrized module (weight norm) is of a class that is made for it alone.
    kinds = [[f"{type(one).__module__}.{type(one).__qualname__}" for one in member.modules()] for member in members]
    devices = {tensor.device for own in parts for tensor in own.values()}
    if len(devices) != 1 or next(iter(devices)).type == "meta":
        return "its members' weights are not all in the memory of one device"
    if len(set(addresses)) < len(addresses):
        return "two weights of its members are one"
    for name, member, own, kind, group in zip(names, members, parts, kinds, groups, strict=True):
        if isinstance(member.config, EnsembleConfig):
            return f"member {name!r} is an ensemble itself"
        if getattr(member.config, "quantization_config", None) is not None:
            return f"member {name!r} has packed weights, which unpack one model at a time"
        if _hooked(member):
            return f"member {name!r} has a forward hook, and no pass of its own in which it would be called"
        if group != groups[0]:
            return f"member {name!r} reads other inputs than member {names[0]!r}"
        if kind != kinds[0] or own.keys() != parts[0].keys():
            return f"member {name!r} is built of other modules than member {names[0]!r}"
        for key, tensor in own.items():
            for what, here, there in (
                ("shape", tensor.shape, parts[0][key].shape),
                ("type", tensor.dtype, parts[0][key].dtype),
            ):
                if here != there:
                    return f"{key} of member {name!r} has another {what} than that of member {names[0]!r}"
        changed = _differs(member.config.to_dict(), first.config.to_dict())
        if changed:
            return f"{changed} of member {name!r} is another than that of member {names[0]!r}"
    return ""


def stacked_answers(stack: StackedMembers, inputs: dict[str, Any]) -> list[Any]:
    """What all members say.

    Raises:
        CompressionError: their forward pass cannot be done for several at once.
    """
    try:
        with warnings.catch_warnings():
            # Where torch has no rule for several models at once (attention on processors) it asks them one by one, and asks
            # the user to report it.
            warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented")
            return stack(inputs)
    except torch.OutOfMemoryError:
        raise
    except (
        Exception
    ) as error:  # each forward pass fails in its own way: values it asks for, random numbers, buffers it fills
        raise CompressionError(
            f"its members' forward pass cannot be done for several models at once by torch.func.vmap ({reason_of(error)})"
        ) from error


def distance(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """The largest difference of two lists of answers, as a share of the largest number; NaN matches NaN.

    Numbers in less than fp32 are allowed their rounding: theirs is scaled so that `CLOSE` stands for four steps of it.
    """
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        for name in ANSWERS:
            here, there = getattr(one, name, None), getattr(other, name, None)
            if here is None or there is None:
                continue
            if not torch.equal(here.isnan(), there.isnan()):
                return float("inf")
            allowed = max(1.0, 4 * torch.finfo(there.dtype).eps / CLOSE)
            here, there = (tensor.nan_to_num().double() for tensor in (here, there))
            if there.numel():
                worst = max(worst, float((here - there).abs().max() / there.abs().max().clamp(min=1e-30)) / allowed)
    return worst


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _hooked(member: nn.Module) -> bool:
    """Whether a user wants something called when the member, or a part of it, is; one pass for all has no place for it.

    Hooks of torch and transformers belong to the architecture: those of all members are alike.
    """
    return any(
        not str(getattr(hook, "__module__", "")).startswith(("torch.", "transformers."))
        for module in member.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for hook in hooks.values()
    )


def _without_memory(member: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers are on the meta device; its config is the member's own, whoever changes that."""
    known: dict[int, Any] = {id(member.config): member.config}
    for tensor in _tensors(member).values():
        empty = torch.empty_like(tensor, device="meta")
        known[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(member, known)


def _differs(one: dict[str, Any], other: dict[str, Any]) -> str:
    """The first entry in which two configs differ that a forward pass could read; empty where there is none."""
    keys = sorted({*one, *other} - set(_NAMES))
    return next((key for key in keys if one.get(key) != other.get(key)), "")
