"""Strategies: frozen dataclasses that a recipe can name.

A strategy class is its own configuration. Declaring one registers it under its kind:

    @dataclass(frozen=True, kw_only=True)
    class Magnitude(Criterion, name="magnitude"):
        ...

Built-in strategies live one per file in the package of their kind and are found by listing that package, so adding one
edits no other file. Strategies declared elsewhere (a user's script) register on declaration as well.
"""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """Where a method was published; quoted in the docstrings' source line and in model cards."""

    authors: str
    title: str
    year: int
    link: str
    equation: str = ""

    def __str__(self) -> str:
        where = f", {self.equation}" if self.equation else ""
        return f"{self.authors} ({self.year}), {self.title}{where}, {self.link}"


class Strategy(metaclass=CheckedKinds):
    """Base of every kind of strategy.

    A kind is declared with `class Criterion(Strategy, kind="criterion", package="hf_compress.pruning.criteria")`, a
    strategy with `class Magnitude(Criterion, name="magnitude")`.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    reference: ClassVar[Reference | None] = None
    _package: ClassVar[str]
    _registry: ClassVar[dict[str, type["Strategy"]]]
    _made: ClassVar[dict[tuple[type["Strategy"], ...], tuple[Any, ...]]]

    def __init_subclass__(
        cls, *, kind: str | None = None, package: str | None = None, name: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if kind is not None:
            if package is None:
                raise TypeError(f"{cls.__name__}: a kind of strategy names the package its members live in")
            cls.kind, cls._package, cls._registry, cls._made = kind, package, {}, {}
        if name is not None:
            known = cls._registry.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise CompressionError(f"{cls.kind} {name!r} is already registered by {known.__module__}; rename one")
            cls.name = name
            cls._registry[name] = cls

    @classmethod
    def available(cls) -> dict[str, type[Self]]:
        """Every strategy of this kind by name, sorted; imports the built-in ones."""
        package = importlib.import_module(cls._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{cls._package}.{module.name}")
        return dict(sorted(cls._registry.items()))  # type: ignore[arg-type]

    @classmethod
    def members(cls) -> tuple[Self, ...]:
        """One of each strategy of this kind, by name, with its defaults: for kinds whose members are all asked.

        Made once; anew where one was declared, declared again or forgotten since.
        """
        known = tuple(cls._registry.values())
        if known not in cls._made:
            cls._made[known] = tuple(strategy() for strategy in cls.available().values())
        return cls._made[known]

    @classmethod
    def create(cls, name: str, **arguments: Any) -> Self:
        """The strategy `name` of this kind, built with `arguments`.

        Raises:
            CompressionError: the name or an argument is unknown, or the strategy refuses a value.
        """
        strategies = cls.available()
        if name not in strategies:
            raise CompressionError(unknown(f"{cls.kind}", name, strategies))
        fields = [field.name for field in dataclasses.fields(strategies[name])]  # type: ignore[arg-type]
        for key in arguments:
            if key not in fields:
                raise CompressionError(unknown(f"argument of {cls.kind} {name!r}", key, fields))
        return strategies[name](**arguments)


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not in a list, with the nearest one where there is a near one."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(given), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(sorted(names)) or "none"
    return f"unknown {what} {given!r}{hint} (known: {listed})"


def dump(value: Any, full: bool = False) -> Any:
    """A configuration object as plain data: what a recipe would say to get it back.

    Dataclasses become mappings; strategies carry their `name` and collapse to that bare string where nothing else is left
    to say. An object that offers `to_plain(full)` speaks for itself.

    Args:
        value: a dataclass, or plain data that may hold some.
        full: write every field, for records; otherwise only those that differ from their defaults, for reading.
    """
    if hasattr(value, "to_plain"):
        return value.to_plain(full)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        data: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            if not field.init:  # it follows from the others
                continue
            item = getattr(value, field.name)
            if not full and field.default is not dataclasses.MISSING and item == field.default:
                continue
            if not full and field.default_factory is not dataclasses.MISSING and item == field.default_factory():
                continue
            data[field.name] = dump(item, full)
        if isinstance(value, Strategy):
            return {"name": value.name, **data} if data else value.name
        return data
    if isinstance(value, dict):
        return {key: dump(item, full) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [dump(item, full) for item in value]
    return value
