"""What the right items of a list are refused for, where others in it are wrong and would hide that until the next try."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hf_compress._problems import Problem
from hf_compress.recipe.build import build_fields
from hf_compress.recipe.checks import Check, find_problems

_ITEM = re.compile(r"(\w+)\.(\w+)\.(\d+)(\..*)?")
"""section.field.place, and a place in the item."""


def problems_beside(
    job: Any, given: Mapping[str, Any], problems: Iterable[Problem], checks: Iterable[Check]
) -> list[Problem]:
    """What the checks find about the right items of lists of which the problems name wrong ones.

    Args:
        job: its class.
        given: a recipe's mapping, of which anything may be wrong.
        problems: of building it.
        checks: the job's.
    """
    wrong: dict[tuple[str, str], set[int]] = {}
    for problem in problems:
        place = _ITEM.fullmatch(problem.path)
        if place is not None:
            wrong.setdefault((place[1], place[2]), set()).add(int(place[3]))
    found: list[Problem] = []
    for (section, field), places in wrong.items():
        inside = given[section]
        items: Any = inside.get(field) if isinstance(inside, dict) else None
        kept = [place for place in range(len(items)) if place not in places] if isinstance(items, list) else []
        if not kept:
            continue
        right = [items[place] for place in kept]
        parts = build_fields(job, {**given, section: {**inside, field: right}}, "", [])
        for problem in find_problems(checks, parts):
            place = _ITEM.fullmatch(problem.path)
            if place is not None and (place[1], place[2]) == (section, field):
                path = f"{section}.{field}.{kept[int(place[3])]}{place[4] or ''}"
                found.append(Problem(path=path, message=problem.message))
    return found
