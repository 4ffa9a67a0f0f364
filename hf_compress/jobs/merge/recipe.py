"""Several models become one."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError, problems_in, problems_of
from hf_compress._secrets import refuse_secrets
from hf_compress.checkpoints.companions import resolve_folder
from hf_compress.checkpoints.source import open_source
from hf_compress.inputs.paths import check_output_dir, expand
from hf_compress.merging.configuration import BASE, Merge
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.mergekit.read import Imported, import_mergekit
from hf_compress.merging.plan.checks import check_merge
from hf_compress.recipe.foreign import foreign_kind, is_mergekit
from hf_compress.recipe.recipe import Recipe
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

    @classmethod
    def section_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """What `check_merge` finds, where what it looks at is right."""
        if not {"method", "members", "base", "slices"} <= parts.keys():
            return []
        names = [item.name for item in dataclasses.fields(Merge) if item.name in parts]
        sentences = check_merge(Merge(**{name: parts[name] for name in names}))
        return problems_of(CompressionError("\n".join(sentences)))

    @classmethod
    def source_problems(cls, parts: dict[str, Any]) -> list[Problem]:
        """Models that cannot be had or read, each by itself, and the folder."""
        members = parts.get("members", ())
        models = [(member.label, member.model) for member in members]
        models += [(BASE, parts["base"])] if parts.get("base") else []
        checks: list[Callable[[], Any]] = [partial(_open_model, model, label) for label, model in dict(models).items()]
        adapters = [(member.label, member.adapter) for member in members] + [(BASE, parts.get("base_adapter"))]
        checks += [partial(_open_adapter, adapter, label) for label, adapter in adapters if adapter is not None]
        if "output_dir" in parts:
            checks.append(lambda: check_output_dir(parts["output_dir"]))
        return problems_in(*checks)

    def preflight(self) -> list[Problem]:
        """Everything that can be found without writing: files, tensors, parameters, the folder."""
        from hf_compress.export.merged import check_merge_job
        from hf_compress.merging.engine.engine import check_device
        from hf_compress.merging.engine.rehearsal import check_merge_inputs

        return problems_in(
            lambda: check_output_dir(self.output_dir),
            lambda: check_device(self.device),
            lambda: check_merge_job(check_merge_inputs(self, expand(self.output_dir, "output_dir"))),
        )

    def run(self, resume: bool = False, *, device: str | None = None, threads: int | None = None) -> Any:
        """Merge.

        Args:
            resume: makes no difference; an interrupted merge goes on when it is started again.
            device: instead of the recipe's.
            threads: tensors at once; the result does not depend on it.
        """
        from hf_compress.export.merged import merge

        return merge(
            self, expand(self.output_dir, "output_dir"), device=device or self.device, threads=threads, title=self.title
        )


def _open_model(model: str, label: str) -> None:
    open_source(resolve_folder(model, label), label)


def _open_adapter(adapter: str, label: str) -> None:
    Adapter(resolve_folder(adapter, label))


def job_of(imported: Imported, out: Path) -> MergeModels:
    """A mergekit configuration as a job; what changes nothing in it is logged."""
    for note in imported.notes:
        logger.info(note)
    job_fields = {field.name: getattr(imported.merge, field.name) for field in dataclasses.fields(imported.merge)}
    return MergeModels(**job_fields, output_dir=str(out))


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
    refuse_secrets(data)
    if is_mergekit(data):
        if overrides:
            message = f"{file} is a mergekit configuration, whose values are not a recipe's; edit the file"
            raise RecipeError([Problem(path="--set", message=message)])
        return job_of(import_mergekit(file.read_text(encoding="utf-8"), str(file)), out)
    foreign = foreign_kind(data)
    if foreign is not None:
        raise RecipeError([Problem(path="", message=f"{file}: {foreign}")])
    job = data.get("job", MergeModels.name)
    if job != MergeModels.name:
        raise RecipeError([Problem(path="job", message=f"{job!r} is no merge; do it with hf-compress run {file}")])
    recipe = Recipe.from_plain({"job": job, **data, "output_dir": str(out)}, sources=True)
    assert isinstance(recipe, MergeModels), recipe
    return recipe
