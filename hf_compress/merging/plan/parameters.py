"""Every tensor's parameters, from the members, the rules and the depth at which it lies."""

import dataclasses
import difflib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._problems import refuse_first
from hf_compress.checkpoints.layers import OUTSIDE, LayerPlace, locate
from hf_compress.merging.advice import way_out
from hf_compress.merging.compat import Compat, differences
from hf_compress.merging.configuration import Member, Merge, Rule, Value
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.plan.checks import check_merge, per_member

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How one tensor is merged.

    Attributes:
        method: its fields as the rules set them for this tensor.
        values: per-member parameters by name, one number per member that has the tensor, in the members' order.
    """

    method: MergeMethod
    values: Mapping[str, tuple[float, ...]]


def interpolate(value: Value, depth: float) -> float:
    """A list read as points evenly spaced over depth 0 to 1, joined by straight lines.

    value(d) = (1 - f) * v_i + f * v_{i+1}, with i + f = d * (n - 1). A list of booleans takes v_i.

    Args:
        value: a number (returned as it is) or a list.
        depth: in [0, 1].
    """
    if not isinstance(value, list | tuple):
        return value
    place = depth * (len(value) - 1)
    index = int(place)
    if all(isinstance(item, bool) for item in value):
        return value[index]
    fraction = place - index
    return (1 - fraction) * value[index] + fraction * value[min(index + 1, len(value) - 1)]


def depths(merge: Merge, places: Mapping[str, LayerPlace]) -> dict[str, float]:
    """The depth at which lists are read, by tensor name.

    By default `LayerPlace.depth`: the layer's share of its stack, 0 before the layers, 1 after them. With
    `tail_has_depth_0` 0 for all tensors outside layers, heads and final norms too; with `depth_within_slices` the layer's
    share of its own slice, 1 in a slice of one layer.
    """
    differs = differences(merge.compat)
    shares: list[float] = []
    for piece in (merge.slices or ()) if differs.depth_within_slices else ():
        length = piece.sources[0].layers[1] - piece.sources[0].layers[0]
        shares += [index / (length - 1) if length > 1 else 1.0 for index in range(length)]
    found = {}
    for name, place in places.items():
        if place.layer is None:
            found[name] = 0.0 if differs.tail_has_depth_0 else place.depth
        else:
            found[name] = shares[place.layer] if place.layer < len(shares) else place.depth
    return found


def resolve(
    merge: Merge, names: Iterable[str], members: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Parameters]:
    """The parameters of every tensor of the result.

    Args:
        merge: the job.
        names: of the result's tensors.
        members: tensor -> labels of the members (not the base) it is merged from, where those are not all of them, as with
            stacked layers.

    Raises:
        CompressionError: with every problem, one a line: those of `check_merge`, patterns and layers that match nothing,
            values and weights that the method refuses.
    """
    problems = check_merge(merge)
    if problems:
        raise CompressionError("\n".join(problems))
    return _Resolver(merge, list(names)).all(members or {})


def as_mean(name: str, found: Parameters, compat: Compat) -> Parameters:
    """The members' mean by the same weights, for a tensor that the base lacks.

    Raises:
        CompressionError: a weight is below 0, or all are 0: there is nothing such a member could be subtracted from.
    """
    weights = found.values["weight"]
    if min(weights) < 0 or not any(weights):
        raise CompressionError(
            f"{name}: the base has none, so the members' mean is taken, and the weights {list(weights)} have none;"
            f" {way_out(f'write take: {{{name!r}: <member>}} to keep one', compat)}"
        )
    return Parameters(method=Linear(), values={"weight": weights})


class _Rule:
    """A rule with its pattern compiled."""

    def __init__(self, number: int, rule: Rule) -> None:
        self.rule, self.number, self.used = rule, number, False
        pattern = rule.match
        if pattern is not None and pattern.startswith("re:"):
            try:
                self.expression: re.Pattern[str] | None = re.compile(pattern.removeprefix("re:"))
            except re.error as error:
                raise CompressionError(f"rules.{number}.match: {pattern!r} is not a regular expression: {error}") from error
        else:
            self.expression = None

    def applies(self, name: str, place: LayerPlace) -> bool:
        layers = self.rule.layers
        if layers is not None and (place.layer is None or not layers[0] <= place.layer < layers[1]):
            return False
        if self.expression is not None:
            return self.expression.match(name) is not None
        return self.rule.match is None or self.rule.match == name


class _Resolver:
    def __init__(self, merge: Merge, names: list[str]) -> None:
        self.merge, self.names = merge, names
        self.method = _with_compat(merge.method, merge.compat)
        self.per_member = per_member(merge.method)
        self.labels = [member.label for member in merge.members]
        self.rules = [_Rule(number, rule) for number, rule in enumerate(merge.rules)]
        self.problems: list[str] = []

    def all(self, members: Mapping[str, Sequence[str]]) -> dict[str, Parameters]:
        """All tensors; those that share rules, depth and members share one object."""
        places = locate(self.names)
        depth_of = depths(self.merge, places)
        shared: dict[Any, Parameters | None] = {}
        found: dict[str, Parameters] = {}
        for name in self.names:
            rules = tuple(rule for rule in self.rules if rule.applies(name, places[name]))
            labels = tuple(members.get(name, self.labels))
            key = (tuple(rule.number for rule in rules), depth_of[name], labels)
            if key not in shared:
                shared[key] = self._one(name, rules, depth_of[name], labels)
            parameters = shared[key]
            if parameters is not None:
                found[name] = parameters
        self._check_used(places)
        refuse_first(self.problems)
        return found

    def _one(self, name: str, rules: Sequence[_Rule], depth: float, labels: Sequence[str]) -> Parameters | None:
        fields: dict[str, Any] = {}
        values: dict[str, list[float]] = {}
        for parameter in self.per_member:
            values[parameter] = [float(interpolate(self._own(member, parameter), depth)) for member in self.merge.members]
        for rule in rules:
            rule.used = True
            for parameter, given in rule.rule.set.items():
                value = interpolate(given, depth)
                if parameter not in self.per_member:
                    fields[parameter] = value
                    continue
                for index, label in enumerate(self.labels):
                    if rule.rule.member in (None, label):
                        values[parameter][index] = float(value)
        keep = [self.labels.index(label) for label in labels]
        chosen = {parameter: tuple(numbers[index] for index in keep) for parameter, numbers in values.items()}
        try:
            method = _replaced(self.method, fields)
            if not keep and not method.needs_base:
                self._check_alone(name, rules, depth)
            if keep:
                method.check_weights(chosen["weight"], name)
                method.check_values(chosen, tuple(labels), name)
        except CompressionError as error:
            said = str(error)
            self.problems.append(said if name in said else f"{name}: {said}")
            return None
        return Parameters(method=method, values=chosen)

    def _check_alone(self, name: str, rules: Sequence[_Rule], depth: float) -> None:
        """A tensor of the base alone is copied, so what members are changed by may only say what changes nothing."""
        neutral = type(self.method)()
        for parameter in self.per_member:
            if parameter == "weight":
                continue
            value = getattr(self.method, parameter)
            for rule in rules:
                if rule.rule.member is None and parameter in rule.rule.set:
                    value = interpolate(rule.rule.set[parameter], depth)
            if value != getattr(neutral, parameter):
                raise CompressionError(
                    f"{name} is the base's alone and is copied, so {parameter}={value:g} has no effect; list its model"
                    " in members and name that in slices"
                )

    def _own(self, member: Member, parameter: str) -> Value:
        """What the member says, else the method's field of the same name."""
        if parameter == "weight":
            return member.weight
        return member.values[parameter] if parameter in member.values else getattr(self.method, parameter)  # type: ignore[no-any-return]

    def _check_used(self, places: Mapping[str, LayerPlace]) -> None:
        unused = [rule for rule in self.rules if not rule.used]
        if differences(self.merge.compat).takes_idle_rules:
            for rule in unused:
                if not (rule.rule.match or "").startswith(f"re:{OUTSIDE}"):  # the import's own, beside those for layers
                    logger.warning("rules.%d (match %r) matches no tensor and has no effect", rule.number, rule.rule.match)
            return
        for rule in unused:
            pattern, layers = rule.rule.match, rule.rule.layers
            where = f"rules.{rule.number}"
            inside = [place.layer for place in places.values() if place.layer is not None]
            if layers is not None and not any(layers[0] <= layer < layers[1] for layer in inside):
                have = f"layers 0 to {max(inside)}" if inside else "no numbered layers"
                self.problems.append(f"{where}.layers: {list(layers)} matches no tensor; the model has {have}")
            else:
                limit = f" in layers {list(layers)}" if layers is not None else ""
                self.problems.append(f"{where}.match: {pattern!r} matches no tensor{limit}{_nearest(pattern, self.names)}")


def _with_compat(method: MergeMethod, compat: Compat) -> MergeMethod:
    """The method told whose numbers are wanted; a method without the field has one set of numbers."""
    fields = {each.name for each in dataclasses.fields(method)}  # type: ignore[arg-type]
    if compat == "paper" or "compat" not in fields:
        return method
    changed: MergeMethod = dataclasses.replace(method, compat=compat)  # type: ignore[type-var]
    return changed


def _replaced(method: MergeMethod, fields: Mapping[str, Any]) -> MergeMethod:
    """`dataclasses.replace` with values of the fields' own kinds."""
    if not fields:
        return method
    kinds = {each.name: each.type for each in dataclasses.fields(method)}  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, value in fields.items():
        switch = kinds[name] in (bool, "bool")
        if switch != isinstance(value, bool):
            raise CompressionError(f"{name}={value!r} must be {'true or false' if switch else 'a number'}")
        if kinds[name] in (int, "int"):
            if value != int(value):
                raise CompressionError(f"{name}={value!r} must be a whole number")
            value = int(value)
        changes[name] = value
    changed: MergeMethod = dataclasses.replace(method, **changes)  # type: ignore[type-var]
    return changed


def _nearest(pattern: str | None, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(pattern or "", names, n=1, cutoff=0.5)
    return f"; the nearest name is {near[0]!r}" if near else f"; there are names like {min(names)!r}" if names else ""
