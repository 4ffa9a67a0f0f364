"""Where two pieces of plain data differ."""

from typing import Any


def difference(found: Any, wanted: Any, path: str = "") -> str | None:
    """The first place where they differ, as a sentence part; None where they are equal.

    Args:
        found: mappings, lists and plain values, as JSON has them.
        wanted: what it should be.
        path: of both, for the sentence.
    """
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            below = f"{path}.{key}" if path else str(key)
            if key not in found:
                return f"{below} is not there and should be {wanted[key]!r}"
            if key not in wanted:
                return f"{below} is {found[key]!r} and should not be there"
            inner = difference(found[key], wanted[key], below)
            if inner is not None:
                return inner
        return None
    # 1, 1.0 and True are equal in Python and not in a config.
    return None if found == wanted and type(found) is type(wanted) else f"{path} is {found!r} and should be {wanted!r}"
