"""Everything that is wrong with a recipe, at once."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from hf_compress._errors import CompressionError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake.

    Attributes:
        path: where, as dotted keys ("pruning.schedule.final"); empty for the whole file.
        message: what, the rule and the way out.
    """

    path: str
    message: str

    def __str__(self) -> str:
        message = _shortened(self.message, 2000)
        return f"{_shortened(self.path, 200)}: {message}" if self.path else message


def _shortened(text: str, length: int) -> str:
    """A sentence quotes what it is about, and that can be a whole book."""
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def problems_of(error: CompressionError) -> list[Problem]:
    """A refusal as problems; a message that starts with dotted keys and a colon says its own path."""
    if isinstance(error, RecipeError):
        return error.problems
    return [_problem(line) for line in str(error).splitlines()]


def _problem(line: str) -> Problem:
    path, colon, message = line.partition(": ")
    return Problem(path=path, message=message) if colon and path and " " not in path else Problem(path="", message=line)


def problems_in(*checks: Callable[[], Any]) -> list[Problem]:
    """What each check refuses, whatever the others say."""
    found: list[Problem] = []
    for check in checks:
        try:
            check()
        except CompressionError as error:
            found.extend(problems_of(error))
    return found


class RecipeError(CompressionError):
    """One or more problems; the text has a line for each."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


def check_all(*checks: Callable[[], Any]) -> None:
    """Run every check, whatever the others say.

    Raises:
        RecipeError: with everything that was refused, none of it twice.
    """
    problems = list(dict.fromkeys(problems_in(*checks)))
    if problems:
        raise RecipeError(problems)


def refuse_first(sentences: Sequence[str], most: int = 10) -> None:
    """Refuse with the first sentences and the number of the others: what is wrong with each of thousands of tensors.

    Raises:
        CompressionError: if there are any.
    """
    if sentences:
        more = len(sentences) - most
        raise CompressionError("\n".join([*sentences[:most], *([f"... and {more} more"] if more > 0 else [])]))


def and_more(names: Sequence[str], most: int = 1) -> str:
    """The first of them, and how many others there are: "a and 3 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
