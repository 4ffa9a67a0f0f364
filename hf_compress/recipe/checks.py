"""One engine of checks for every job.

A check names what it needs as its parameters and runs where that is right, whatever else is wrong; a parameter with a
default is passed where it is there, and `**others` is all else that is. It says what is wrong by raising a
CompressionError.

A job lists two kinds. `checks` look at its fields and at nothing outside; they may also return problems, one for each
mistake. `opens` open what the fields name (data, models, folders) and write nothing. What one of them returns has its
function's name, and those behind it ask for it by that name, so nothing is opened twice.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._problems import Problem, RecipeError, problems_of

Check = Callable[..., list[Problem] | None]
Opener = Callable[..., Any]


class Checked(metaclass=CheckedKinds):
    """A frozen dataclass that refuses every mistake in its fields when it is made, and opens what they name.

    Attributes:
        checks: what can be wrong inside and between fields; those of the classes that it inherits from come first.
        opens: what opens the data, models and folders that fields name, in order.
    """

    checks: ClassVar[tuple[Check, ...]] = ()
    opens: ClassVar[tuple[Opener, ...]] = ()

    def __post_init__(self) -> None:
        problems = find_problems(checks_of(type(self))[0], fields_of(self))
        if problems:
            raise RecipeError(problems)

    def open(self) -> dict[str, Any]:
        """What the fields name, opened; by the names of the functions in `opens`.

        Raises:
            RecipeError: with every problem at once.
        """
        opened, problems = open_parts(checks_of(type(self))[1], fields_of(self))
        if problems:
            raise RecipeError(problems)
        return opened


def find_problems(checks: Iterable[Check], parts: Mapping[str, Any]) -> list[Problem]:
    """What every check finds that can run, none of it twice.

    Args:
        checks: see above.
        parts: the fields of a job that are each right by themselves.
    """
    found: list[Problem] = []
    for check in checks:
        arguments = _arguments(check, parts)
        if arguments is None:
            continue
        try:
            found.extend(check(**arguments) or ())
        except CompressionError as error:
            found.extend(problems_of(error))
    return list(dict.fromkeys(found))


def open_parts(opens: Iterable[Opener], parts: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Open what can be opened; what hangs on something refused is left out.

    Args:
        opens: see above.
        parts: the fields of a job that are each right by themselves.

    Returns:
        What was opened, by the names of the functions; and what is wrong, none of it twice.
    """
    opened: dict[str, Any] = {}
    found: list[Problem] = []
    for opener in opens:
        arguments = _arguments(opener, {**parts, **opened})
        if arguments is None:
            continue
        try:
            opened[opener.__name__] = opener(**arguments)
        except CompressionError as error:
            found.extend(problems_of(error))
    return opened, list(dict.fromkeys(found))


def checks_of(job: type) -> tuple[tuple[Check, ...], tuple[Opener, ...]]:
    """The `checks` and `opens` of a class, behind those of the classes that it inherits from.

    Raises:
        TypeError: a function names what is neither a field nor opened before it, and would never run; or two things would
            have one name.
    """
    checks, opens = (_inherited(job, name) for name in ("checks", "opens"))
    known = {field.name for field in dataclasses.fields(job)}
    for check in checks:
        _require(check, known)
    for opener in opens:
        _require(opener, known)
        if opener.__name__ in known:
            raise TypeError(f"{opener.__name__}() opens something under a name that is taken; rename it")
        known.add(opener.__name__)
    return checks, opens


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass's instance as they are."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _inherited(job: type, name: str) -> tuple[Any, ...]:
    return tuple(item for cls in reversed(job.__mro__) for item in cls.__dict__.get(name, ()))


def _require(check: Callable[..., Any], known: set[str]) -> None:
    for item in _named(check):
        if item.name not in known:
            raise TypeError(f"{check.__name__}({item.name}) needs what is neither a field of the job nor opened before it")


def _arguments(check: Callable[..., Any], known: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the function is called with; None where something that it needs is not there."""
    named = _named(check)
    if any(item.name not in known and item.default is item.empty for item in named):
        return None
    if len(named) < len(inspect.signature(check).parameters):
        return dict(known)
    return {item.name: known[item.name] for item in named if item.name in known}


def _named(check: Callable[..., Any]) -> list[inspect.Parameter]:
    return [item for item in inspect.signature(check).parameters.values() if item.kind is not item.VAR_KEYWORD]
