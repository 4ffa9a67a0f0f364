"""Where two pieces of plain data differ."""

from typing import Any

MISSING = object()
"""In place of a value that one side does not have."""


def first_difference(found: Any, wanted: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The first place where they differ and what each has there, `MISSING` for nothing; None where they are equal.

    Args:
        found: mappings, lists and plain values, as JSON has them.
        wanted: the other side; its keys come first.
        path: of both.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in found or key not in wanted:
                return below, found.get(key, MISSING), wanted.get(key, MISSING)
            inner = first_difference(found[key], wanted[key], below)
            if inner is not None:
                return inner
        return None
    # 1, 1.0 and True are equal in Python and not in a config.
    return None if found == wanted and type(found) is type(wanted) else (path, found, wanted)


def difference(found: Any, wanted: Any) -> str | None:
    """The same as a sentence part about what should be."""
    place = first_difference(found, wanted)
    if place is None:
        return None
    path, is_there, should = place
    if is_there is MISSING:
        return f"{path} is not there and should be {should!r}"
    return f"{path} is {is_there!r} and should {'not be there' if should is MISSING else f'be {should!r}'}"
