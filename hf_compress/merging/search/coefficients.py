"""Weights that were found rather than written, and the recipe that says the same."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.merging.configuration import Member, Merge, Rule
from hf_compress.merging.method import MergeMethod

Granularity = Literal["model", "layer", "tensor"]
"""What shares one weight per member: the whole model; each layer, and all outside of layers; each tensor."""


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """One weight per member, and other ones for groups of tensors.

    Attributes:
        members: the labels; M of them.
        weights: M numbers, for tensors in no group.
        groups: a rule's `match` -> M numbers. No two match the same tensor.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    groups: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[float, ...]:
        """The members' weights for one tensor."""
        for granularity in ("tensor", "layer"):
            pattern = group_of(name, granularity)  # type: ignore[arg-type]
            if pattern in self.groups:
                return self.groups[pattern]  # type: ignore[index]
        return self.weights

    def as_merge(self, method: MergeMethod, models: Mapping[str, str] | None = None, base: str | None = None) -> Merge:
        """The merge job with these weights, to be run or written as a recipe. Members that weigh nothing are left out.

        Args:
            method: the formula the weights were found for.
            models: label -> folder or Hub id; None = the labels are folders.
            base: folder or Hub id of the base model.
        """
        every = [self.weights, *self.groups.values()]
        used = [number for number in range(len(self.members)) if any(weights[number] for weights in every)]
        members = []
        for number in used:
            label = self.members[number]
            members.append(Member((models or {}).get(label, label), name=label, weight=self.weights[number]))
        rules = tuple(
            Rule(match=pattern, member=self.members[number], set={"weight": weights[number]})
            for pattern, weights in self.groups.items()
            for number in used
        )
        return Merge(method=method, members=tuple(members), base=base, rules=rules)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a soup or a search found.

    Attributes:
        coefficients: the weights.
        method: the formula they belong to.
        state_dict: the merged model.
        score: what `evaluate` said of it, higher is better; for learned weights minus the last loss.
        history: every score or loss on the way, in order, with what was tried.
    """

    coefficients: Coefficients
    method: MergeMethod
    state_dict: dict[str, Tensor]
    score: float
    history: tuple[tuple[dict[str, float], float], ...]

    def as_merge(self, models: Mapping[str, str] | None = None, base: str | None = None) -> Merge:
        """The merge job that gives this model; see `Coefficients.as_merge`."""
        return self.coefficients.as_merge(self.method, models, base)


def group_of(name: str, granularity: Granularity) -> str | None:
    """The `match` of the rule that names the tensor's group; None where the members' own weight counts.

    A layer is everything that shares a name up to its first number, e.g. "bert.encoder.layer.3.", so the layers of an
    encoder are not those of its decoder.
    """
    if granularity == "tensor":
        return name
    if granularity == "layer":
        found = re.match(r"(.*?\.|)\d+\.", name)
        if found is not None:
            return "re:" + re.escape(found.group())
    return None


def groups_of(names: Iterable[str], granularity: Granularity) -> list[str | None]:
    """The groups of these tensors, each once, in their order; None stands for the tensors outside of any.

    Raises:
        CompressionError: the granularity is unknown.
    """
    if granularity not in get_args(Granularity):
        raise CompressionError(unknown("granularity", granularity, get_args(Granularity)))
    return list(dict.fromkeys(group_of(name, granularity) for name in names))
