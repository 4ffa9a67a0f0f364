"""YAML in, as nothing but data of a believable size; YAML out, such that a recipe comes back as it was."""

import re
from typing import Any

import yaml

FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"),
    list("-+.0123456789"),
)
"""What recipes read as a number, 1e-5 included; PyYAML reads that as text and writes the text without quotes."""


MOST_LEVELS = 100
"""More than any setting is nested."""
_MOST_DIGITS = 20
_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "whole number", "float": "number", "bool": "boolean", "timestamp": "date"}


class PlainLoader(yaml.SafeLoader):
    """SafeLoader of text, numbers, booleans, lists and mappings alone: no dates, sets or bytes.

    What PyYAML lets through as ValueError, KeyError or RecursionError is a MarkedYAMLError here.
    """

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node; of a text that is nested without end none is built."""
        self._level += 1
        if self._level > MOST_LEVELS:
            problem = f"it is nested more than {MOST_LEVELS} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            kind = _KINDS.get(node.tag.removeprefix(_TAG), node.tag)
            raise yaml.MarkedYAMLError(
                problem=f"{str(node.value)[:40]!r} is not a valid {kind}", problem_mark=node.start_mark
            ) from error


def _whole_number(loader: PlainLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > _MOST_DIGITS:
        problem = f"{node.value[:8]}... has {len(node.value)} digits, more than any setting"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    return loader.construct_yaml_int(node)


PlainLoader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "float", "str", "seq", "map")
}
PlainLoader.add_constructor(_TAG + "int", _whole_number)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes the text `1e-5`."""


_Dumper.add_implicit_resolver(*FLOAT)


def write_yaml(data: Any, width: int = 110) -> str:
    """YAML text in the order of the data.

    Args:
        data: plain data.
        width: longer lines are folded.
    """
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
