"""Several models become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import Merge
from hf_compress.recipe.problems import Problem, RecipeError, problems_of
from hf_compress.recipe.recipes import Recipe
from hf_compress.recipe.yaml_text import read_recipe


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
        from hf_compress.merging.merge import check_merge_inputs

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
    """A merge from a file that need not say where to write: a recipe, with or without `job: merge`.

    Args:
        file: YAML.
        out: the new folder, instead of the file's.
        overrides: "a.b=value" each.

    Raises:
        RecipeError: with every problem at once.
    """
    data = read_recipe(file, overrides)
    recipe = Recipe.from_plain({"job": "merge", **data, "output_dir": str(out)})
    if not isinstance(recipe, MergeModels):
        raise RecipeError([Problem(path="job", message=f"{recipe.name!r} is no merge; run it with hf-compress run {file}")])
    return recipe
