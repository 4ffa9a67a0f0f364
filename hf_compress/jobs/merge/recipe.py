"""Several models become one."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._hub.publication import Publication
from hf_compress._paths import expand
from hf_compress._problems import Problem, RecipeError, problems_of
from hf_compress._secrets import refuse_secrets
from hf_compress.export.push import destination, published
from hf_compress.inputs.place import place
from hf_compress.merging.configuration import Member, Merge
from hf_compress.merging.mergekit.read import Imported, import_mergekit
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.plan.checks import check_merge
from hf_compress.recipe.foreign import foreign_kind, is_mergekit
from hf_compress.recipe.recipe import Recipe
from hf_compress.recipe.yaml_text import read_recipe

if TYPE_CHECKING:
    from hf_compress.merging.engine.opened import OpenedMerge

logger = logging.getLogger(__name__)


def fields_fit(method: MergeMethod, members: Any, base: Any, slices: Any, **others: Any) -> list[Problem]:
    """What `check_merge` finds, where what it looks at is right."""
    sentences = check_merge(_merge({"method": method, "members": members, "base": base, "slices": slices, **others}))
    return problems_of(CompressionError("\n".join(sentences)))


def computes(device: str) -> None:
    """The device is one."""
    from hf_compress.merging.engine.engine import check_device

    check_device(device)


def opened(
    members: Sequence[Member], base: str | None = None, base_adapter: str | None = None, **others: Any
) -> "OpenedMerge | None":
    """The merge with its inputs open, found to fit together; where its fields do not, each input by itself."""
    from hf_compress.export.merged import check_requantizing
    from hf_compress.merging.engine.inputs import open_inputs
    from hf_compress.merging.engine.rehearsal import check_merge_inputs

    parts = {"members": members, "base": base, "base_adapter": base_adapter, **others}
    if {item.name for item in dataclasses.fields(MergeModels)} - parts.keys() or check_merge(_merge(parts)):
        open_inputs(members, base, base_adapter)
        return None
    found = check_merge_inputs(_merge(parts), expand(parts["output_dir"], "output_dir"))
    check_requantizing(found)
    return found


def _merge(parts: dict[str, Any]) -> Merge:
    return Merge(**{item.name: parts[item.name] for item in dataclasses.fields(Merge) if item.name in parts})


@dataclass(frozen=True, kw_only=True)
class MergeModels(Recipe, Merge, name="merge"):
    """A `Merge` with a place to write to.

    Attributes:
        output_dir: the new folder.
        title: how the card calls the result; by default the folder's name.
        device: where to compute.
        export: where the result is published.
    """

    output_dir: str
    title: str | None = None
    device: str = "cpu"
    export: Publication = field(default_factory=Publication)

    checks = (fields_fit,)
    opens = (place, computes, destination, opened)

    def run(self, resume: bool = False, *, device: str | None = None, threads: int | None = None) -> Any:
        """Merge.

        Args:
            resume: makes no difference; an interrupted merge goes on when it is started again.
            device: instead of the recipe's.
            threads: tensors at once; the result does not depend on it.
        """
        from hf_compress.export.merged import merge

        found = self.open()
        device = device or self.device
        done = merge(self, found["place"], device=device, threads=threads, title=self.title, opened=found["opened"])
        return published(done, done.folder, self.export)


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
        raise RecipeError([Problem(path="job", message=f"{job!r} is not a merge; do it with hf-compress run {file}")])
    recipe = Recipe.from_plain({"job": job, **data, "output_dir": str(out)}, sources=True)
    assert isinstance(recipe, MergeModels), recipe
    return recipe
