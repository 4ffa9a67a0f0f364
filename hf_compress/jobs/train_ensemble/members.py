"""The members of an ensemble that is to be trained: their recipes, and everything that is wrong with them at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._hub.publication import Publication
from hf_compress._kinds import describe
from hf_compress._problems import Problem, RecipeError, problems_of
from hf_compress.jobs.train_ensemble.diversity import Diversity, Plain
from hf_compress.recipe.recipe import Recipe
from hf_compress.recipe.yaml_text import read_recipe

_JOBS = ("train", "train-member")
_OWN = {
    "job": "it is `ensemble`",
    "members": "they are what is trained here",
    "task": "it is the members'",
    "data": "they are the members'",
    "seed": "it is the members' training.seed",
    "output_dir": "it is the folder `ensemble` in output_dir",
}
"""Keys of a job `ensemble` that this one gives, and what they are."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One member to be trained.

    Attributes:
        name: in messages and reports.
        recipe: of the job `train-member`.
        folder: its training.output_dir.
    """

    name: str
    recipe: Any
    folder: Path


def read_base(train: str | Plain) -> Plain:
    """The recipe that members share, as plain data of a job `train-member`.

    Args:
        train: a recipe of the job `train`, or the file of one, whose folder is then not used.

    Raises:
        RecipeError: at `train`.
    """
    try:
        plain = read_recipe(train) if isinstance(train, str) else dict(train)
    except RecipeError as error:
        raise RecipeError([replace(one, path=f"train.{one.path}".rstrip(".")) for one in error.problems]) from error
    job = plain.pop("job", "train")
    if job not in _JOBS:
        raise CompressionError(f"train.job: it is {job!r}, and members are trained by a recipe of the job train")
    training = plain.get("training", {})
    if not isinstance(training, dict):
        raise CompressionError(f"train.training: {describe(training)} given, a mapping expected")
    if "output_dir" in training and not isinstance(train, str):
        raise CompressionError(
            "train.training.output_dir: each member has a folder of its own in output_dir; leave it out here"
        )
    named = [key for key in Publication.field_names() if isinstance(plain.get("export"), dict) and key in plain["export"]]
    if named:
        raise CompressionError(
            f"train.export.{named[0]}: members are not published one by one; write ensemble: {{export: {{...}}}}, and the"
            " ensemble is"
        )
    kept = {key: value for key, value in training.items() if key != "output_dir"}
    return {"job": "train-member", **plain, "training": kept}


def seed_of(base: Plain) -> int:
    """training.seed of plain data; the Trainer's own where there is none.

    Raises:
        CompressionError: it is no seed. Members have seeds of their own, so theirs would not be refused for it.
    """
    from transformers import TrainingArguments

    training = base.get("training")
    seed = training.get("seed", TrainingArguments.seed) if isinstance(training, dict) else TrainingArguments.seed
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise CompressionError(f"train.training.seed: {describe(seed)} given, a whole number from 0 to 2**31 - 1 expected")
    return seed


def plan_members(base: Plain, diversity: Diversity, folder: Path, title: str) -> list[Member]:
    """Every member's recipe, made and opened; what is wrong with all is said once.

    Args:
        base: from `read_base`.
        diversity: how they differ.
        folder: gets a folder for each.
        title: begins the titles of the members' reports.

    Raises:
        RecipeError: with every problem; one of the shared recipe at `train`, one of a single member with its name.
    """
    seed = seed_of(base)
    shared = {**base, "rows_seed": base.get("rows_seed", seed)}

    def planned_steps() -> int:
        trial = _with_folder(shared, "base", folder, title)
        recipe: Any = _made({"": trial})[""]
        return int(recipe.planned_steps())

    try:
        plain = diversity.placed(diversity.recipes(shared, seed, planned_steps), str(folder))
    except RecipeError as error:
        raise RecipeError([replace(one, path=one.path or "diversity") for one in error.problems]) from error
    except CompressionError as error:
        raise CompressionError(f"diversity: {error}") from error
    recipes = _made({name: _with_folder(one, name, folder, title) for name, one in plain.items()})
    _collect({name: recipe.preflight for name, recipe in list(recipes.items())[: 1 if diversity.open_alike else None]})
    return [Member(name=name, recipe=recipe, folder=folder / name) for name, recipe in recipes.items()]


def ensemble_plain(block: Plain, members: Mapping[str, Path], recipe: Plain, seed: int, folder: str) -> Plain:
    """The recipe of the job `ensemble` that follows the training.

    Args:
        block: what the user says of it.
        members: name -> where the trained model lies, or will.
        recipe: of a member, whose task and data are the ensemble's.
        seed: of the rows.
        folder: the ensemble's.
    """
    return {
        "job": "ensemble",
        "members": [{"model": str(place), "name": name} for name, place in members.items()],
        **{key: recipe[key] for key in ("task", "data") if key in recipe},
        "seed": seed,
        "output_dir": folder,
        **block,
    }


def fused_block(block: Plain, diversity: Diversity) -> Plain:
    """The block with the fusion that members are made for.

    Raises:
        CompressionError: it names another.
    """
    if diversity.fusion is None:
        return block
    given = block.get("fusion", diversity.fusion)
    name = given.get("name") if isinstance(given, dict) else given
    if name != diversity.fusion:
        raise CompressionError(
            f"ensemble.fusion: it is {name!r}, and members of {diversity.name} are made for {diversity.fusion};"
            " leave it out"
        )
    return {"fusion": diversity.fusion, **block}


def check_block(block: Plain, base: Plain) -> None:
    """Refuse what is wrong with the `ensemble` block whoever its members are.

    Raises:
        RecipeError: at `ensemble`.
    """
    found = [Problem(path=f"ensemble.{key}", message=f"{why}; leave it out") for key, why in _OWN.items() if key in block]
    if not found:
        try:
            Recipe.from_plain(ensemble_plain(block, {"a": Path("a"), "b": Path("b")}, base, 0, "new"))
        except RecipeError as error:
            own = [one for one in error.problems if one.path.partition(".")[0] not in _OWN]
            found = [replace(one, path=f"ensemble.{one.path}".rstrip(".")) for one in own]
    if found:
        raise RecipeError(found)


def check_ensemble(plain: Plain) -> None:
    """Refuse what the job `ensemble` would refuse, as far as that is known before members are there.

    Raises:
        RecipeError: at `ensemble`.
    """
    try:
        problems = Recipe.from_plain(plain).preflight()
    except RecipeError as error:
        raise RecipeError([replace(one, path=f"ensemble.{one.path}".rstrip(".")) for one in error.problems]) from error
    # Members that are not trained are not there, and the rest of what this job gives was looked at with them.
    own = [one for one in problems if one.path.partition(".")[0] not in _OWN]
    if own:
        raise RecipeError([replace(one, path=f"ensemble.{one.path}".rstrip(".")) for one in own])


def check_graph(block: Plain, members: Sequence[Member]) -> None:
    """Refuse a graph of members that will be stored as no graph holds them.

    Raises:
        CompressionError: naming them.
    """
    export = block.get("export")
    form = export.get("format") if isinstance(export, dict) else None
    unfit = [one.name for one in members if one.recipe.export.dtype != "float32" or one.recipe.quantization is not None]
    if form is not None and unfit:
        raise CompressionError(
            f"ensemble.export.format: {form} holds members that are stored in float32, and {', '.join(unfit)} will be"
            " quantized or in 16 bits; write train: {export: {dtype: float32}} without quantization, or leave it out"
        )


def _with_folder(plain: Plain, name: str, folder: Path, title: str) -> Plain:
    training = plain.get("training", {})
    if isinstance(training, dict):
        training = {**training, "output_dir": str(folder / name)}
    return {"title": f"{title}: {name}", **plain, "training": training}


def _made(plain: Mapping[str, Plain]) -> dict[str, Any]:
    """Recipes of plain data."""
    made: dict[str, Any] = {}

    def make(name: str) -> list[Problem]:
        made[name] = Recipe.from_plain(plain[name], sources=True)
        return []

    _collect({name: lambda name=name: make(name) for name in plain})  # type: ignore[misc]
    return made


def _collect(looks: Mapping[str, Callable[[], list[Problem]]]) -> None:
    """Refuse what every look finds; a problem of all is one of the recipe that they share."""
    found: dict[Problem, list[str]] = {}
    for name, look in looks.items():
        try:
            problems = look()
        except CompressionError as error:
            problems = problems_of(error)
        for problem in dict.fromkeys(problems):
            found.setdefault(problem, []).append(name)
    said = []
    for problem, names in found.items():
        whose = "train" if len(names) == len(looks) else f"members.{names[0]}"
        said.append(replace(problem, path=f"{whose}.{problem.path}".rstrip(".")))
    if said:
        raise RecipeError(said)
