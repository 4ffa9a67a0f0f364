"""mergekit's parameter settings: filters, gradients and levels, flattened into rules.

A setting is a number, a gradient (a list of numbers), or a list of `{filter, value}` of which the first whose filter is
part of the tensor's name counts. A level (model, slice, module, whole file) that says nothing for a tensor leaves it to
the next. So all levels together are one list of (filter, value), first match wins; and as of our rules the last wins, it
becomes rules in reverse.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_compress.merging.configuration import Rule, Value
from hf_compress.merging.mergekit.methods import SWITCHES, WHOLE
from hf_compress.merging.mergekit.nodes import Node


@dataclass(frozen=True)
class Choice:
    """One (filter, value).

    Attributes:
        filter: part of the tensor's name; None = every tensor.
        value: a number, a boolean or a gradient.
    """

    filter: str | None
    value: Any


Chain = tuple[Choice, ...]
"""First match wins; at most the last has no filter."""


def read_chain(name: str, levels: Iterable[dict[str, Node]]) -> Chain:
    """The choices for the parameter `name`.

    Args:
        name: mergekit's.
        levels: `parameters` mappings, the innermost first.

    Raises:
        CompressionError: a value is not of the kind its setting takes, with its line.
    """
    found: list[Choice] = []
    for level in levels:
        if name not in level:
            continue
        for choice in _read(name, level[name]):
            found.append(choice)
            if choice.filter is None:
                return tuple(found)
    return tuple(found)


def is_complete(chain: Chain) -> bool:
    """Whether every tensor gets a value."""
    return bool(chain) and chain[-1].filter is None


def rules_of(
    chain: Chain, parameter: str, *, member: str | None = None, layers: tuple[int, int] | None = None, where: str = ""
) -> list[Rule]:
    """The same choices as rules, of which the last match wins.

    Args:
        chain: the choices.
        parameter: our name for it.
        member: the label of the model they are for; None = all.
        layers: output layers they are for; None = all.
        where: lookaheads that a tensor's name must pass as well.
    """
    rules = []
    for choice in reversed(chain):
        match = None
        if choice.filter is not None or where:
            match = f"re:{where}" + (f".*?{re.escape(choice.filter)}" if choice.filter is not None else "")
        rules.append(Rule(match=match, layers=layers, member=member, set={parameter: choice.value}))
    return rules


def _read(name: str, node: Node) -> Sequence[Choice]:
    if isinstance(node.value, dict):
        return [_conditional(name, node)]
    if not isinstance(node.value, list):
        return [Choice(None, _value(name, node))]
    conditions = [isinstance(item.value, dict) for item in node.value]
    if conditions and all(conditions):
        return [_conditional(name, item) for item in node.value]
    # An empty list says nothing, and the next level decides.
    return [Choice(None, _value(name, node))] if node.value else []


def _conditional(name: str, node: Node) -> Choice:
    mapping = node.mapping(f"an entry of {name}", ("filter", "value"))
    if "value" not in mapping:
        node.refuse(f"the entry of {name} has no value; write {{filter: ..., value: ...}}")
    text = mapping["filter"].value if "filter" in mapping else None
    if text is not None and not isinstance(text, str):
        mapping["filter"].refuse(f"filter of {name} must be text, a part of tensor names; put it in quotes")
    return Choice(None if text in (None, "", "*") else text, _value(name, mapping["value"]))


def _value(name: str, node: Node) -> Value:
    if not isinstance(node.value, list):
        return _scalar(name, node)
    if not node.value:
        node.refuse(f"{name} is an empty list; a gradient needs at least one number")
    values = [_scalar(name, item) for item in node.value]
    if len(values) == 1 or (name in (*SWITCHES, *WHOLE) and all(value == values[0] for value in values)):
        return values[0]
    if name in WHOLE:
        node.refuse(f"{name} must be a whole number, and a gradient passes through fractions; write one number")
    return values


def _scalar(name: str, node: Node) -> Any:
    if isinstance(node.value, dict | list):
        node.refuse(f"{name}: numbers and entries with a filter cannot stand in one list")
    if name in SWITCHES:
        return node.truth(name)
    number = node.number(name)
    if name in WHOLE:
        if number != int(number):
            node.refuse(f"{name} must be a whole number, and {node.value!r} is not one")
        return int(number)
    return number
