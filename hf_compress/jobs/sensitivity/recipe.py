"""What each layer of a model costs where it is pruned."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._problems import Problem, RecipeError
from hf_compress.jobs.sensitivity.settings import SensitivitySettings
from hf_compress.recipe.recipe import Recipe
from hf_compress.recipe.yaml_text import read_recipe

logger = logging.getLogger(__name__)

_PRUNES = "prune"
_AS_IT_IS = ("job", "evaluation", "export", "title")
"""Keys of a job that prunes of which nobody would think that they matter here."""


@dataclass(frozen=True, kw_only=True)
class MeasureSensitivity(SensitivitySettings, name="sensitivity"):
    """Layers pruned one at a time; the keys are those of `SensitivitySettings`."""

    def run(self, resume: bool = False) -> Any:
        """Measure; what an interrupted run has measured is not measured again."""
        from hf_compress.jobs.sensitivity.run import run_sensitivity

        return run_sensitivity(self)


def load_sensitivity(file: Path, overrides: Sequence[str] = ()) -> MeasureSensitivity:
    """A sensitivity recipe, with or without `job`, or that of a job that prunes, whose layers are then asked one by one.

    Args:
        file: YAML.
        overrides: "a.b=value" each.

    Raises:
        RecipeError: with every problem at once.
    """
    data = read_recipe(file, overrides)
    job = data.get("job", MeasureSensitivity.name)
    if job == _PRUNES:
        data = _of_pruning(data)
    elif job != MeasureSensitivity.name:
        message = f"{job!r} prunes nothing at once; name a recipe of the job {MeasureSensitivity.name} or {_PRUNES}"
        raise RecipeError([Problem(path="job", message=message)])
    recipe = Recipe.from_plain({"job": MeasureSensitivity.name, **data}, sources=True)
    assert isinstance(recipe, MeasureSensitivity), recipe
    return recipe


def _of_pruning(data: dict[str, Any]) -> dict[str, Any]:
    """What both jobs have, and a folder beside that of the other; what else is asked for is said."""
    known = {field.name for field in dataclasses.fields(MeasureSensitivity)}
    kept = {key: value for key, value in data.items() if key in known}
    left = [key for key in data if key not in known and key not in _AS_IT_IS]
    pruning = kept.get("pruning")
    if isinstance(pruning, dict) and "allocation" in pruning:
        kept["pruning"] = {key: value for key, value in pruning.items() if key != "allocation"}
        left.append("pruning.allocation")
    if left:
        logger.info("not looked at where layers are pruned one at a time: %s", ", ".join(left))
    if isinstance(kept.get("output_dir"), str):
        kept["output_dir"] = f"{kept['output_dir'].rstrip('/')}-sensitivity"
    return kept
