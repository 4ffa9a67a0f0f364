"""What is looked for in the data of a task: its columns, and what is wrong in their rows, all of it at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hf_compress._problems import Problem, RecipeError, problems_in
from hf_compress.inputs.columns import Column
from hf_compress.inputs.wrong_rows import Wrong, refuse_rows

if TYPE_CHECKING:
    from datasets import Dataset

    Splits = dict[str, Dataset]


@dataclass(frozen=True, kw_only=True)
class RowCheck:
    """Something that may be wrong in a row.

    Attributes:
        key: the task's field that names the column, and which a refusal names.
        find: the rows of a split in which it is.
        reads: the fields of other columns that this looks at.
    """

    key: str
    find: Callable[["Dataset"], Iterable[Wrong]]
    reads: tuple[str, ...] = ()


def check_rows(columns: Iterable[Column], checks: Iterable[RowCheck], splits: "Splits", path: str) -> None:
    """Refuse wrong columns, and wrong rows of those that are right.

    Args:
        columns: what a task reads.
        checks: of rows.
        splits: raw rows.
        path: what the data is called in refusals.

    Raises:
        RecipeError: with everything that is wrong, at `task.<key>`.
    """
    problems: list[Problem] = []
    wrong = set()
    for column in columns:
        found = problems_in(partial(column.check, splits, path))
        problems += found
        if found:
            wrong.add(column.key)
    for check in checks:
        if not wrong & {check.key, *check.reads}:
            problems += problems_in(partial(refuse_rows, splits, f"task.{check.key}", check.find))
    if problems:
        raise RecipeError(list(dict.fromkeys(problems)))
