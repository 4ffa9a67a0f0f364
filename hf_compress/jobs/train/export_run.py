"""The result of a training that is finished, made without training."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._paths import expand
from hf_compress.jobs.train.changes import SHARDING
from hf_compress.jobs.train.run_folder import RECIPE
from hf_compress.recipe.recipe import Recipe


def export_run(folder: str | Path, overrides: Sequence[str] = ()) -> Any:
    """Export, measure and report what the last checkpoint of a run's folder holds.

    Args:
        folder: `training.output_dir` of the run, or where it was moved to.
        overrides: "a.b=value" each; what touches the training is refused.

    Returns:
        As a run does.

    Raises:
        CompressionError: it is not a run's folder, the training is not at its end, or the result is there already.
    """
    from hf_compress.jobs.train.recipe import Train
    from hf_compress.jobs.train.run import run_train

    place = expand(str(folder), "RUN_FOLDER")
    file = place / RECIPE
    if not file.is_file():
        raise CompressionError(f"{place} holds no {RECIPE}; name the training.output_dir of a run")
    recipe = Recipe.load(file, overrides, sources=True)
    if not isinstance(recipe, Train):
        raise CompressionError(f"{file} is a recipe of the job {recipe.name}; only a train run can be exported")
    # One process exports, whatever number has trained.
    training = {key: value for key, value in recipe.training.items() if key not in SHARDING}
    recipe = dataclasses.replace(recipe, training=training)
    if not _is_same(expand(recipe.output_dir, "training.output_dir"), place):
        recipe = dataclasses.replace(recipe, training={**recipe.training, "output_dir": str(place)})
    return run_train(recipe, resume=True, only_export=True)


def _is_same(one: Path, other: Path) -> bool:
    return one.exists() and one.samefile(other)
