"""Several models become one."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import Merge
from hf_compress.merging.mergekit_yaml import import_mergekit, is_mergekit
from hf_compress.recipe.problems import Problem, RecipeError, problems_of
from hf_compress.recipe.recipes import Recipe
from hf_compress.recipe.yaml_text import read_recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MergeModels(Recipe, Merge, name="merge"):
    """A `Merge` with a place to write to.

    Attributes:
        output_dir: the new folder.
        title: how the card calls the result; by default the folder's name.
        device: where to compute.
    """

    output_dir: str
    title: str | None = None
    device: str = "cpu"

    def preflight(self) -> list[Problem]:
        """Everything that can be found without writing: files, tensors, parameters, the folder."""
        from hf_compress.merging.job import check_merge_inputs

        problems = []
        if Path(self.output_dir).exists():
            problems.append(Problem(path="output_dir", message=f"{self.output_dir} exists already; name another folder"))
        try:
            check_merge_inputs(self)
        except CompressionError as error:
            problems.extend(problems_of(error))
        return problems

    def run(self, resume: bool = False, *, device: str | None = None, threads: int | None = None) -> Any:
        """Merge.

        Args:
            resume: makes no difference; an interrupted merge goes on when it is started again.
            device: instead of the recipe's.
            threads: tensors at once; the result does not depend on it.
        """
        from hf_compress.export.merged import merge

        return merge(self, self.output_dir, device=device or self.device, threads=threads, title=self.title)


def load_merge(file: Path, out: Path, overrides: Sequence[str] = ()) -> MergeModels:
    """A merge from a file that need not say where to write: a recipe without `job: merge` too, or mergekit's YAML.

    Args:
        file: YAML.
        out: the new folder, instead of the file's.
        overrides: "a.b=value" each.

    Raises:
        RecipeError: with every problem at once.
    """
    data = read_recipe(file, overrides)
    if is_mergekit(data):
        if overrides:
            message = f"{file} is a mergekit configuration, whose values are not a recipe's; edit the file"
            raise RecipeError([Problem(path="--set", message=message)])
        imported = import_mergekit(file.read_text(encoding="utf-8"), str(file))
        for note in imported.notes:
            logger.info(note)
        job_fields = {field.name: getattr(imported.merge, field.name) for field in dataclasses.fields(imported.merge)}
        return MergeModels(**job_fields, output_dir=str(out))
    job = data.get("job", MergeModels.name)
    if job != MergeModels.name:
        raise RecipeError([Problem(path="job", message=f"{job!r} is no merge; do it with hf-compress run {file}")])
    recipe = Recipe.from_plain({"job": job, **data, "output_dir": str(out)})
    assert isinstance(recipe, MergeModels), recipe
    return recipe
