"""Patterns of a recipe that choose tensors by their names."""

import re
from collections.abc import Callable, Sequence

from hf_compress._errors import CompressionError


def matcher(patterns: Sequence[str], setting: str) -> Callable[[str], str | None]:
    """A function name -> the first pattern that matches, or None; `re:` patterns match from the start of the name.

    Raises:
        CompressionError: a pattern is not a regular expression.
    """
    compiled: list[tuple[str, re.Pattern[str]]] = []
    for pattern in patterns:
        text = pattern.removeprefix("re:") if pattern.startswith("re:") else re.escape(pattern) + r"\Z"
        try:
            compiled.append((pattern, re.compile(text)))
        except re.error as error:
            raise CompressionError(f"{setting}: {pattern!r} is not a regular expression: {error}") from error
    return lambda name: next((pattern for pattern, expression in compiled if expression.match(name)), None)
