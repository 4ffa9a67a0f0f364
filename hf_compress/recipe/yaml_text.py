"""YAML in: 1e-5 is a number, `no` is a word, a key stands once, nothing but data."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_compress._problems import Problem, RecipeError
from hf_compress._secrets import WAY_OUT, find_secrets, hide_secrets
from hf_compress._units import format_bytes
from hf_compress._yaml import FLOAT, PlainLoader

_LARGEST_FILE = 2**20
_MOST_VALUES = 100_000
"""More than any recipe needs; aliases of aliases could otherwise unfold without end."""


class _Loader(PlainLoader):
    """PlainLoader with YAML 1.2's numbers and booleans, and without duplicate keys."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("float", "int", "bool", "timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(*FLOAT)
# 010 (eight, in YAML 1.1) and 12:30 (750) are text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"(?:[-+]?(?:0|[1-9]\d*)|0x[0-9a-fA-F]+)\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            problem = "a key must be one word, not a mapping or a list"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        if key_node.value in seen and key_node.value != "<<":  # YAML's merge key may stand more than once
            problem = f"the key {key_node.value!r} stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        seen.add(key_node.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, source: str) -> Any:
    """Plain data from YAML text.

    Raises:
        RecipeError: the text is not YAML, with line and column.
    """
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader: it builds data, never objects
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.problem == "but found another document":
            message = f"{source} holds several documents, as mergekit-multi files do; hf-compress merge FILE OUT runs those"
            raise RecipeError([Problem(path="", message=message)]) from error
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise RecipeError([Problem(path="", message=f"{source} is not valid YAML: {error.problem}{where}")]) from error
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise RecipeError([Problem(path="", message=f"{source} is not valid YAML: {first}")]) from error
    if _unfolds(data):
        raise RecipeError([Problem(path="", message=f"{source}: its aliases unfold to more than {_MOST_VALUES} values")])
    return data


def _unfolds(data: Any) -> bool:
    """Whether the data has more values than any recipe, each alias counted as what it stands for."""
    count, left = 0, [data]
    while left and count <= _MOST_VALUES:
        value = left.pop()
        count += 1
        if isinstance(value, dict):
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return count > _MOST_VALUES


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a recipe file, with overrides applied.

    Args:
        path: a YAML file.
        overrides: "a.b=value" each; the value is YAML, list items are addressed by number, from 0.

    Raises:
        RecipeError: the file cannot be read, is not a mapping, or an override does not parse.
    """
    file = Path(path)
    if not file.is_file():
        raise RecipeError([Problem(path="", message=f"there is no recipe {file}; recipes are YAML files, see recipes/")])
    if file.stat().st_size > _LARGEST_FILE:
        size = format_bytes(file.stat().st_size)
        raise RecipeError([Problem(path="", message=f"{file} has {size}, so it is not a recipe; those are a page of text")])
    try:
        data = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise RecipeError([Problem(path="", message=f"{file} is not UTF-8 text, so it is not a recipe")]) from error
    if not isinstance(data, dict):
        raise RecipeError([Problem(path="", message=f"{file} holds no mapping; a recipe starts with `job: train`")])
    apply_overrides(data, overrides)
    return data


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> None:
    """Change values of a recipe's mapping in place.

    Args:
        data: plain data.
        overrides: as in `read_recipe`.

    Raises:
        RecipeError: one or more do not parse, or name what is not there.
    """
    problems: list[Problem] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if find_secrets({key.rpartition(".")[2].strip(): value}):  # not quoted in a refusal
            problems.append(Problem(path="--set", message=f"{hide_secrets(key)} {WAY_OUT}"))
            continue
        try:
            _apply(data, override)
        except RecipeError as error:
            problems.extend(error.problems)
    if problems:
        raise RecipeError(problems)


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one value in place; mappings on the way are made, list items must exist."""
    key, equals, text = override.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise RecipeError([Problem(path="--set", message=f"{override!r} is not an assignment; write a.b=value")])
    *parents, last = key.strip().split(".")
    place: Any = data
    for depth, part in enumerate(parents):
        at: Any = _index(place, part, override) if isinstance(place, list) else part
        below = place[at] if isinstance(place, list) else place.get(at)
        if isinstance(below, str):  # a strategy's bare name
            below = {"name": below}
        elif below is None:
            if [*parents, last][depth + 1].isdecimal():
                message = f"{override!r}: the recipe has no list {'.'.join(parents[: depth + 1])}; write the list first"
                raise RecipeError([Problem(path="--set", message=message)])
            below = {}
        if not isinstance(below, dict | list):
            above = ".".join(parents[: depth + 1])
            message = f"{override!r}: {above} is {below!r}, not a mapping; set {above} itself"
            raise RecipeError([Problem(path="--set", message=message)])
        place[at] = below
        place = below
    place[_index(place, last, override) if isinstance(place, list) else last] = parse_yaml(text, f"--set {override!r}")


def _index(items: list[Any], part: str, override: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        message = f"{override!r}: {part!r} is not an item of a list of {len(items)}; they count from 0"
        raise RecipeError([Problem(path="--set", message=message)])
    return int(part)
