"""YAML in and out: 1e-5 is a number, `no` is a word, a key stands once, nothing but data."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_compress.recipe.problems import Problem, RecipeError


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's numbers and booleans, and without duplicate keys."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)  # type: ignore[no-untyped-call]
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def parse_yaml(text: str, source: str) -> Any:
    """Plain data from YAML text.

    Raises:
        RecipeError: the text is no YAML, with line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: it builds data, never objects
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise RecipeError([Problem(path="", message=f"{source} is no valid YAML: {error.problem}{where}")]) from error
    except yaml.YAMLError as error:
        raise RecipeError([Problem(path="", message=f"{source} is no valid YAML: {error}")]) from error


def read_recipe(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping in a recipe file, with overrides applied.

    Args:
        path: a YAML file.
        overrides: "a.b=value" each; the value is YAML, list items are addressed by number.

    Raises:
        RecipeError: the file cannot be read, is no mapping, or an override does not parse.
    """
    file = Path(path)
    if not file.is_file():
        raise RecipeError([Problem(path="", message=f"there is no recipe {file}; recipes are YAML files, see recipes/")])
    try:
        data = parse_yaml(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise RecipeError([Problem(path="", message=f"{file} is no UTF-8 text, so it is no recipe")]) from error
    if not isinstance(data, dict):
        raise RecipeError([Problem(path="", message=f"{file} holds no mapping; a recipe starts with `job: train`")])
    for override in overrides:
        _apply(data, override)
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one value in place; mappings on the way are made, list items must exist."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError([Problem(path="--set", message=f"{override!r} is no assignment; write a.b=value")])
    *parents, last = key.strip().split(".")
    place: Any = data
    for depth, part in enumerate(parents):
        if isinstance(place, list):
            place = place[_index(place, part, override)]
        elif isinstance(place, dict):
            if not isinstance(place.get(part), dict | list):
                place[part] = {"name": place[part]} if isinstance(place.get(part), str) else {}
            place = place[part]
        else:
            above = ".".join(parents[:depth])
            raise RecipeError([Problem(path="--set", message=f"{override!r}: {above} is a value, not a mapping")])
    value = parse_yaml(text, f"--set {key}")
    if isinstance(place, list):
        place[_index(place, last, override)] = value
    else:
        place[last] = value


def _index(items: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise RecipeError(
            [
                Problem(
                    path="--set", message=f"{override!r}: {part!r} is no item of a list of {len(items)}; they count from 0"
                )
            ]
        )
    return int(part)


def write_yaml(data: Any) -> str:
    """YAML text in the order of the data."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
