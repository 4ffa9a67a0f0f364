"""The members of an ensemble, opened and found to go together; no weight is read."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem
from hf_compress.checkpoints.location import folder_of, resolve_folder
from hf_compress.ensembling.configuration import ALL, EnsembleMember
from hf_compress.ensembling.modelling.checks import check_groups, check_heads, check_names
from hf_compress.ensembling.modelling.heads import BY_LABELS
from hf_compress.ensembling.modelling.labels import label_orders
from hf_compress.ensembling.modelling.places import default_names
from hf_compress.ensembling.modelling.processors import group_processors, joined_processor, load_processor
from hf_compress.inputs.labels import label_ids
from hf_compress.inputs.sections import Data
from hf_compress.tasks.opened import Found, Opened, open_inputs
from hf_compress.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class OpenedMember:
    """A member with its rows.

    Attributes:
        name: in messages and reports.
        folder: where it lies on this machine.
        opened: its processor and examples; without data no examples.
        order: which of its classes is the first member's first, second, ...; None where the order is the same.
        hub: `model` and `revision` (the commit) of one of the Hub; empty for a folder.
    """

    name: str
    folder: Path
    opened: Opened
    order: list[int] | None
    hub: dict[str, str]


def open_members(members: Sequence[EnsembleMember], task: Task | None, data: Data | None, seed: int) -> list[OpenedMember]:
    """Every member with the splits of the data, as the model takes them.

    Args:
        members: of a recipe.
        task: what they are for; None where it was refused: then each is looked up, and no more.
        data: the rows; None without.
        seed: of splits that are cut.

    Raises:
        RecipeError: with everything that was refused; what is refused of the data is said once.
    """
    found = Found([])
    folders: list[Path | None] = []
    opened: list[Opened] = []
    for number, member in enumerate(members):
        folders.append(None)
        with found.collecting(f"members.{number}.model"):
            folders[-1] = _folder(member, f"members.{number}.model")
        problems: list[Problem] = []
        here = None if folders[-1] is None else str(folders[-1])
        opened.append(open_inputs(here, data, task, seed=seed, measured="held_out", problems=problems))
        found.problems.extend(_of_member(problem, number, member, here or "") for problem in problems)
    names = names_of(members)
    with found.collecting("members"):
        check_names(names, len(members))
        if ALL in names:
            raise CompressionError(f"a member is called {ALL!r}, as the report calls all together; give it another name")
    found.refuse()
    if task is None:
        return []
    places = [folder for folder in folders if folder is not None]
    with _of("members"):
        orders = _fitting(task, places, opened, names)
    _refuse_bare_numbers(task, opened, orders, names)
    return [
        OpenedMember(name=name, folder=folder, opened=one, order=order, hub=_hub(member, folder))
        for name, member, folder, one, order in zip(names, members, places, opened, orders, strict=True)
    ]


def names_of(members: Sequence[EnsembleMember]) -> list[str]:
    """What they are called, by themselves where no name is given."""
    own = default_names(members, [{"model": member.model} for member in members])
    return [member.name or name for member, name in zip(members, own, strict=True)]


def _folder(member: EnsembleMember, key: str) -> Path:
    if member.revision is not None and folder_of(member.model, key) is not None:
        raise CompressionError(f"{key}: {member.model} is a folder, which has no revision; leave it out")
    return resolve_folder(member.model, key, member.revision)


def _hub(member: EnsembleMember, folder: Path) -> dict[str, str]:
    """A snapshot lies in a folder that is called like its commit."""
    local = folder_of(member.model, "model") is not None
    return {} if local else {"model": member.model, "revision": folder.name}


def _of_member(problem: Problem, number: int, member: EnsembleMember, folder: str) -> Problem:
    """A refusal of the model, or of what belongs to it, at the member's key; one of data or task stays where it is."""
    message = problem.message.replace(folder, member.model) if folder else problem.message
    if problem.path in ("model", "tokenizer", ""):
        return Problem(path=f"members.{number}.model", message=message)
    return replace(problem, message=message)


@contextlib.contextmanager
def _of(path: str) -> Iterator[None]:
    found = Found([])
    with found.collecting(path):
        yield
    found.refuse()


def _fitting(task: Task, folders: Sequence[Path], opened: Sequence[Opened], names: list[str]) -> list[list[int] | None]:
    """Refuse members that do not go together, as the ensemble itself would; the orders of their labels."""
    configs: list[Any] = [one.base for one in opened]
    head = task.head.auto_class
    orders: list[list[int] | None] = [None] * len(names)
    if head in BY_LABELS:
        check_heads([SimpleNamespace(config=config) for config in configs], [head] * len(configs), names)
        if configs[0].num_labels > 1:
            orders = label_orders(configs, names)
    processors = [load_processor({"model": str(folder)}, head) for folder in folders]
    different, groups = group_processors(processors, names)
    check_groups(groups, head, names)
    joined_processor(different)
    return orders


def _refuse_bare_numbers(
    task: Task, opened: Sequence[Opened], orders: Sequence[list[int] | None], names: Sequence[str]
) -> None:
    """Refuse labels that are numbers without names where members number their labels differently.

    Raises:
        CompressionError: with the first number that two members understand differently.
    """
    column = next((one for one in task.columns() if one.key in ("label", "labels")), None)
    if column is None:
        return
    for name, one, order in zip(names, opened, orders, strict=True):
        if order is None or not one.raw:
            continue
        first, own = (
            label_ids(found.raw, column.name, found.labels, getattr(task, "classes", ())) for found in (opened[0], one)
        )
        for value, number in first.items():
            if order[number] != own[value]:
                meant = [found.labels[place] for found, place in ((opened[0], number), (one, own[value]))]
                raise CompressionError(
                    f"task.{column.key}: the data's labels are numbers, and {value} is {meant[0]!r} for member {names[0]!r}"
                    f" and {meant[1]!r} for member {name!r}; write task.classes, the labels' names in the order of the"
                    " data's numbers"
                )
