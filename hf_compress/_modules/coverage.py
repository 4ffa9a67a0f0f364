"""How much of a model a setting reaches, so that "sparsity 0.5" or "int4" never stands for more than it is."""

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from hf_compress._modules.adapters import base_modules
from hf_compress._modules.packed import ExpertMatrix, matched_of_packed
from hf_compress._modules.plain_model import is_adapted
from hf_compress._problems import and_more
from hf_compress._sharding.contract import full_shape

_SHOWN = 4
"""Classes that the sentence names; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which share of all weights is matched, and what the rest is.

    Weights are the entries of every parameter of two or more dimensions; biases and norms, which nobody compresses, do not
    count, and a shared (tied) parameter counts once, as its first owner's.

    Attributes:
        matched: weights of the matched modules.
        total: weights of the model.
        modules: class -> (matched modules, all modules of the class that hold a weight), for the classes that are matched.
        left: class -> weights that are not matched, largest first. Packed experts, embeddings and convolutions are classes
            like any other; of a parametrized module (weight norm) the class is that of the module.
        left_out: modules that a class name targets and that stay as they are: name -> why.
    """

    matched: int
    total: int
    modules: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Matched / total, in [0, 1]; 0 for a model without weights."""
        return self.matched / self.total if self.total else 0.0

    def sentence(self, verb: str) -> str:
        """One line, e.g. "quantized 8 of 9 Linear, 10.7 % of the weights; left: MixtralExperts 85.5 %, Embedding 3 %".

        Args:
            verb: what is done to the matched modules: "quantized", "pruned".
        """
        counts = ", ".join(f"{some} of {every} {name}" for name, (some, every) in self.modules.items()) or "nothing"
        text = f"{verb} {counts}, {_percent(self.matched, self.total)} of the weights"
        if self.left:
            shown = list(self.left.items())[:_SHOWN]
            text += "; left: " + ", ".join(f"{name} {_percent(size, self.total)}" for name, size in shown)
            if len(self.left) > _SHOWN:
                rest = sum(self.left.values()) - sum(size for _, size in shown)
                text += f", {len(self.left) - _SHOWN} more kinds {_percent(rest, self.total)}"
        for reason, names in self._reasons().items():
            text += f"; left out: {and_more(names)} ({reason})"
        return text

    def _reasons(self) -> dict[str, list[str]]:
        """Reason -> the modules left out for it."""
        found: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            found.setdefault(reason, []).append(name)
        return found

    def to_plain(self) -> dict[str, Any]:
        """For sidecar, manifest and report: counts of weights, the share, and what was left out by name."""
        return {
            "matched": self.matched,
            "total": self.total,
            "share": self.share,
            "left": dict(self.left),
            "left_out": dict(self.left_out),
        }


def coverage(model: nn.Module, matched: Mapping[str, nn.Module], left_out: Mapping[str, str] | None = None) -> Coverage:
    """The coverage of `matched` in `model`.

    Args:
        model: dense, prepared or finalized; not packed, where weights are no parameters.
        matched: modules of the model by name, each with a `weight`, as `match_modules` returns them, or matrices of packed
            experts; a module that holds experts is matched where one of its matrices is.
        left_out: as `select_modules` returns it.
    """
    chosen = {id(one.experts if isinstance(one, ExpertMatrix) else one) for one in matched.values()}
    packed = matched_of_packed(matched.values())
    unpacked = {id(one) for one in matched.values() if not isinstance(one, ExpertMatrix)}
    seen: set[int] = set()
    reached = 0
    left: collections.Counter[str] = collections.Counter()
    holders: collections.Counter[str] = collections.Counter()
    hit: collections.Counter[str] = collections.Counter()
    parents = {id(child): module for module in model.modules() for child in module.children()}
    for module in [model, *base_modules(model).values()] if is_adapted(model) else model.modules():
        own = [(name, one) for name, one in module.named_parameters(recurse=False) if len(full_shape(one)) >= 2]
        owner = _owner(module, parents)
        if own:
            holders[_class_name(owner)] += 1
        if id(owner) in chosen and own:
            hit[_class_name(owner)] += 1
        for name, parameter in own:
            if id(parameter) in seen or (id(module) in unpacked and name != "weight"):  # scales stand beside the weight
                continue
            seen.add(id(parameter))
            size = full_shape(parameter).numel()
            own_share = size if id(owner) in unpacked else packed.get(id(parameter), 0)
            reached += own_share
            if size > own_share:
                left[_class_name(owner)] += size - own_share
    return Coverage(
        matched=reached,
        total=reached + sum(left.values()),
        modules={name: (count, holders[name]) for name, count in sorted(hit.items())},
        left=dict(sorted(left.items(), key=lambda item: (-item[1], item[0]))),
        left_out=dict(left_out or {}),
    )


def _owner(module: nn.Module, parents: Mapping[int, nn.Module]) -> nn.Module:
    """The module whose weight it is: the originals of a parametrized weight (weight norm) belong to the module around."""
    if isinstance(module, ParametrizationList):
        return parents[id(parents[id(module)])]  # between the two is the ModuleDict `parametrizations`
    return module


def _class_name(module: nn.Module) -> str:
    """The class as the model's authors wrote it: not the subclass that preparing or parametrizing makes of it."""
    for cls in type(module).__mro__:
        if not cls.__module__.startswith(("hf_compress", "torch.nn.utils.parametriz")):
            return cls.__name__
    return type(module).__name__


def _percent(part: int, whole: int) -> str:
    """To a tenth; something never reads as nothing, and a part never as everything."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.05:
        return "<0.1 %"
    return "99.9 %" if 99.95 <= share < 100 else f"{share:.1f} %"
