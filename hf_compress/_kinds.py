"""What kind of thing a value is, in words, and whether it is the kind that an annotation asks for."""

import dataclasses
import functools
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Union

from hf_compress._errors import CompressionError

_SHOWN = 100
SCALARS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "nothing"}
_CONTAINERS = {list: "a list", tuple: "a list", dict: "a mapping"}


def shown(value: Any) -> str:
    """A value as an error message quotes it, however long it is."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def describe(value: Any) -> str:
    """A value as an error message shows it, with its kind."""
    if value is None:
        return "nothing"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    for container, name in _CONTAINERS.items():
        if isinstance(value, container):
            return name
    return f"{shown(value)} ({SCALARS.get(type(value), type(value).__name__)})"


def kind(annotation: Any) -> str:
    """What an annotation asks for, in words."""
    if annotation in SCALARS or annotation in _CONTAINERS:
        return SCALARS.get(annotation) or _CONTAINERS[annotation]
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(kind(member) for member in typing.get_args(annotation))
    if origin is Literal:
        return f"one of {', '.join(map(repr, typing.get_args(annotation)))}"
    return _CONTAINERS.get(origin, getattr(annotation, "__name__", str(annotation)))


def fits(annotation: Any, value: Any) -> bool:
    """Whether a value is of the kind an annotation asks for; a list will do for a tuple, a whole number for a number."""
    if annotation is Any:
        return True
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(member, value) for member in members)
    if origin is Literal:
        return any(value == member and type(value) is type(member) for member in members)
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(fits(members[0], item) for item in value)
    if origin is dict:
        return isinstance(value, Mapping) and all(
            fits(members[0], key) and fits(members[1], item) for key, item in value.items()
        )
    if annotation in (int, float):
        wanted = numbers.Integral if annotation is int else numbers.Real
        return isinstance(value, wanted) and not isinstance(value, bool)
    if annotation in (list, tuple):
        return isinstance(value, list | tuple)
    if annotation in SCALARS or annotation is dict or _is_own(annotation):
        return isinstance(value, annotation)
    # Models, tensors and callables come in more classes than an annotation names.
    return not isinstance(value, type | str | int | float | bool | types.NoneType | list | tuple | dict)


def _is_own(annotation: Any) -> bool:
    return isinstance(annotation, type) and annotation.__module__.partition(".")[0] == __name__.partition(".")[0]


def require(value: Any, wanted: type, form: str) -> None:
    """Refuse an argument of another kind.

    Args:
        value: what was passed.
        wanted: the class it must be of.
        form: how to write it, e.g. 'pruning=Pruning(schedule=Cubic(final=0.5))'.

    Raises:
        CompressionError: with that form.
    """
    if not isinstance(value, wanted):
        raise CompressionError(f"{describe(value)} given where a {wanted.__name__} is expected; write {form}")


class CheckedKinds(type):
    """Makes dataclasses that refuse arguments of a wrong kind in a sentence.

    The class's own rules come first, because they know more; what they stumble over or let through is checked by the
    annotations. `_takes` has other annotations for fields whose class brings more than one kind into the annotated form.
    """

    _takes: ClassVar[Mapping[str, Any]] = {}

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """A new instance.

        Raises:
            CompressionError: naming the argument, what was given and what is expected.
        """
        try:
            made = super().__call__(*args, **kwargs)
        except CompressionError:
            raise
        except (TypeError, AttributeError, ValueError, LookupError):
            _check(cls, {**_by_name(cls, args), **kwargs})
            raise
        _check(cls, {**_by_name(cls, args), **kwargs})
        return made


def _by_name(cls: Any, values: tuple[Any, ...]) -> dict[str, Any]:
    """Arguments given by their place."""
    if not dataclasses.is_dataclass(cls):
        return {}
    names = [field.name for field in dataclasses.fields(cls) if field.init and not field.kw_only]
    return dict(zip(names, values, strict=False))


def _check(cls: Any, arguments: Mapping[str, Any]) -> None:
    hints = {**_hints(cls), **cls._takes}
    for name, value in arguments.items():
        if name in hints and not fits(hints[name], value):
            wanted, given = _misfit(hints[name], value)
            raise CompressionError(
                f"{cls.__name__}({name}=...): {describe(given)} given, {kind(wanted)} expected{_example(cls, name, given)}"
            )


def _misfit(annotation: Any, value: Any) -> tuple[Any, Any]:
    """The innermost item that does not fit, and what it should be."""
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        return _misfit(members[0], next(item for item in value if not fits(members[0], item)))
    if origin is dict and isinstance(value, Mapping):
        wrong = next((item for item in value.values() if not fits(members[1], item)), None)
        return (annotation, value) if wrong is None else _misfit(members[1], wrong)
    return annotation, value


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(cls):
        return {}
    try:
        hints = typing.get_type_hints(cls)
    except NameError:  # an annotation that only type checkers can follow
        return {}
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _example(cls: Any, name: str, value: Any) -> str:
    """How to write the argument, by the class that was meant or by its default."""
    if isinstance(value, type):
        return f"; write {name}={value.__name__}(...)"
    field = next(field for field in dataclasses.fields(cls) if field.name == name)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING or default is None:
        return ""
    if dataclasses.is_dataclass(default):
        return f", e.g. {name}={type(default).__name__}(...)"
    return f", e.g. {name}={default!r}"
