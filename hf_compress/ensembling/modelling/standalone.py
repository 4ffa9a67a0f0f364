"""What the code beside a saved ensemble begins with, in place of this package's registry and errors.

Nothing here imports it: `code.py` copies it before the other files.
"""

import dataclasses
from pathlib import Path
from typing import Any

CODE_FILE = "modeling_ensemble.py"
Reference = dict
"""Publications are quoted by the package's docs and cards."""


class CompressionError(ValueError):
    """A setting or file cannot be used as it is; the message says why and what to do."""


def reason_of(error: BaseException) -> str:
    """What another library says about its refusal, in one line."""
    return " ".join(f"{error}".split())[:300] or type(error).__name__


class _Named:
    """Strategies by name."""

    _known: dict[str, Any]
    name: str

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is None:
            cls._known = {}
        else:
            cls.name = name
            cls._known[name] = cls

    @classmethod
    def create(cls, name: str, **arguments: Any) -> Any:
        """The strategy `name` with its arguments."""
        if name not in cls._known:
            raise CompressionError(f"unknown {cls.__name__.lower()} {name!r} (known: {', '.join(sorted(cls._known))})")
        known = {field.name for field in dataclasses.fields(cls._known[name])}
        if wrong := sorted(set(arguments) - known):
            raise CompressionError(f"{name} has no argument {wrong[0]!r} (known: {', '.join(sorted(known)) or 'none'})")
        return cls._known[name](**arguments)


class Combiner(_Named):
    """How members' answers become one."""


class Confidence(_Named):
    """How sure an answer is."""


def code_text() -> str:
    """This file."""
    return Path(__file__).read_text(encoding="utf-8")
