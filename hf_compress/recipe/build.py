"""Objects from plain data, by their type annotations, collecting every problem on the way."""

import dataclasses
import json
import math
import types
import typing
from typing import Any, Literal, Union

from hf_compress._errors import CompressionError
from hf_compress._kinds import SCALARS, describe, kind
from hf_compress._problems import Problem
from hf_compress._registry import Strategy, unknown
from hf_compress._units import Point, check_point


class Invalid:
    """Stands for a value that could not be built; the problems say why."""


INVALID = Invalid()


def build(annotation: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    """`value` as an instance of `annotation`, or INVALID with at least one new problem.

    Args:
        annotation: a scalar type, None, Any, Literal, a union, list, tuple, dict, a dataclass or a kind of strategy.
        value: plain data.
        path: the dotted keys that lead here.
        problems: added to.
    """
    if annotation is Any:
        return _build_any(value, path, problems)
    if annotation == Point:
        return _build_point(value, path, problems)
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _build_union(annotation, value, path, problems)
    if origin is Literal:
        options = typing.get_args(annotation)
        if value in options and type(value) in {type(option) for option in options}:
            return value
        if not isinstance(value, str):
            return _refuse(path, problems, f"{describe(value)} given, one of {', '.join(map(str, options))} expected")
        return _refuse(path, problems, unknown("value", value, [str(option) for option in options]))
    if origin in (list, tuple):
        return _build_sequence(annotation, value, path, problems)
    if origin is dict:
        return _build_dict(annotation, value, path, problems)
    if isinstance(annotation, type) and issubclass(annotation, Strategy):
        return _build_strategy(annotation, value, path, problems)
    if dataclasses.is_dataclass(annotation):
        return build_dataclass(annotation, value, path, problems)
    return _build_scalar(annotation, value, path, problems)


def _refuse(path: str, problems: list[Problem], message: str) -> Invalid:
    problems.append(Problem(path=path, message=message))
    return INVALID


def _build_any(value: Any, path: str, problems: list[Problem]) -> Any:
    """What goes to another library as it is; it must come back from the file that records it."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        return _refuse(path, problems, f"only text, numbers, true, false, lists and mappings are recorded ({error})")
    return value


def _kind(annotation: Any) -> str:
    """What an annotation asks for, as a recipe writes it."""
    if dataclasses.is_dataclass(annotation):
        return f"a mapping with {', '.join(field.name for field in dataclasses.fields(annotation) if field.init)}"
    return kind(annotation)


def _build_scalar(annotation: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    if annotation in (None, types.NoneType):
        return None if value is None else _refuse(path, problems, f"{describe(value)} given, nothing expected")
    if annotation is float and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    if type(value) is float and not math.isfinite(value):
        return _refuse(path, problems, f"{value} is not a finite number; write one")
    if annotation in SCALARS and type(value) is annotation:
        return value
    return _refuse(path, problems, f"{describe(value)} given, {_kind(annotation)} expected")


def _build_point(value: Any, path: str, problems: list[Problem]) -> Any:
    try:
        check_point(value, path.rpartition(".")[2])
    except CompressionError as error:
        return _refuse(path, problems, str(error))
    return value


def _build_union(annotation: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    """The first member that fits; if none does, the problems of the one whose shape fits best."""
    members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
    if value is None and len(members) < len(typing.get_args(annotation)):
        return None
    if len(members) == 1:
        return build(members[0], value, path, problems)
    best: list[Problem] | None = None
    for member in members:
        found: list[Problem] = []
        built = build(member, value, path, found)
        if not found:
            return built
        structured = dataclasses.is_dataclass(member) or typing.get_origin(member) in (dict, list, tuple)
        if structured and isinstance(value, dict | list):
            best = found
    if best is None:
        known = [_kind(member) for member in members if _can_be_written(member)]
        best = [Problem(path=path, message=f"{describe(value)} given, {' or '.join(known)} expected")]
    problems.extend(best)
    return INVALID


def _can_be_written(annotation: Any) -> bool:
    """False for classes that no YAML can express, such as a model in memory."""
    return annotation in SCALARS or dataclasses.is_dataclass(annotation) or typing.get_origin(annotation) is not None


def _build_sequence(annotation: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, list):
        example = "" if value is None or isinstance(value, dict) else f": [{value}]"
        return _refuse(path, problems, f"{describe(value)} given, a list expected{example}")
    item_type = typing.get_args(annotation)[0]
    items = [build(item_type, item, f"{path}.{index}", problems) for index, item in enumerate(value)]
    if any(item is INVALID for item in items):
        return INVALID
    return tuple(items) if typing.get_origin(annotation) is tuple else items


def _build_dict(annotation: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(value, dict):
        return _refuse(path, problems, f"{describe(value)} given, a mapping expected")
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        return _refuse(path, problems, f"the key {describe(wrong[0])} given, text expected; put it in quotes")
    item_type = typing.get_args(annotation)[1]
    items = {key: build(item_type, item, f"{path}.{key}", problems) for key, item in value.items()}
    return INVALID if any(item is INVALID for item in items.values()) else items


def _build_strategy(wanted: type[Strategy], value: Any, path: str, problems: list[Problem]) -> Any:
    """A bare string is a name with defaults; a mapping is `name` and arguments."""
    if isinstance(value, str):
        value = {"name": value}
    strategies = wanted.available()
    if not isinstance(value, dict):
        expected = f"the name of a {wanted.kind} expected, or a mapping with `name` (known: {', '.join(strategies)})"
        return _refuse(path, problems, f"{describe(value)} given, {expected}")
    arguments = dict(value)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        return _refuse(path, problems, f"a {wanted.kind} needs a `name` (known: {', '.join(strategies)})")
    if name not in strategies:
        return _refuse(path, problems, unknown(wanted.kind, name, strategies))
    return build_dataclass(strategies[name], arguments, path, problems)


def build_dataclass(cls: Any, value: Any, path: str, problems: list[Problem]) -> Any:
    """An instance of a dataclass from a mapping; unknown, missing and wrong keys are all reported."""
    if not isinstance(value, dict):
        return _refuse(path, problems, f"{describe(value)} given, {_kind(cls)} expected")
    before = len(problems)
    arguments = build_fields(cls, value, path, problems)
    if len(problems) > before:
        problems.extend(_refused_values(cls, {key: item for key, item in arguments.items() if key in value}, path))
        return INVALID
    try:
        return cls(**arguments)
    except CompressionError as error:
        return _refuse(path, problems, str(error))


def build_fields(cls: Any, value: dict[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
    """The fields of a dataclass that a mapping gives rightly, and the defaults of those it leaves out.

    Args:
        cls: a dataclass.
        value: a mapping, of which anything may be wrong.
        path: the dotted keys that lead here; "" at the top.
        problems: added to: unknown, missing and wrong keys.
    """
    prefix = f"{path}." if path else ""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    arguments: dict[str, Any] = {}
    for key, item in value.items():
        if key not in fields:
            elsewhere = cls.refused_key(key, item) if hasattr(cls, "refused_key") else None
            problems.append(Problem(path=f"{prefix}{key}", message=elsewhere or unknown("key", str(key), fields)))
            continue
        arguments[key] = build(hints[key], item, f"{prefix}{key}", problems)
    for key, field in fields.items():
        if key in value:
            continue
        if field.default is not dataclasses.MISSING:
            arguments[key] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            arguments[key] = field.default_factory()
        else:
            problems.append(Problem(path=f"{prefix}{key}", message="is missing"))
    return {key: item for key, item in arguments.items() if item is not INVALID}


def _refused_values(cls: Any, arguments: dict[str, Any], path: str) -> list[Problem]:
    """What the class refuses about the values that are right in kind, each tried alone beside the defaults.

    Another mistake in the same mapping must not hide these until the next try.
    """
    found: dict[str, Problem] = {}
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    for key, item in arguments.items():
        needed = {name: arguments.get(name, INVALID) for name in {key, *required}}
        if any(value is INVALID for value in needed.values()):
            continue
        try:
            cls(**{**needed, key: item})
        except CompressionError as error:
            found.setdefault(str(error), Problem(path=path, message=str(error)))
    return list(found.values())
