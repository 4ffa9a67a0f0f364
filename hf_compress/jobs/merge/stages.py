"""Several merges in one file, each made of models and of what those before it made: mergekit-multi's."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._folders import check_place
from hf_compress._paths import expand
from hf_compress._problems import Problem, RecipeError, check_all, problems_in
from hf_compress._registry import dump
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.jobs.merge.recipe import MergeModels, job_of, load_merge
from hf_compress.merging.configuration import Merge
from hf_compress.merging.mergekit.nodes import Node, read_documents
from hf_compress.merging.mergekit.read import import_document
from hf_compress.recipe.checks import open_parts
from hf_compress.recipe.foreign import holds_several_documents

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One merge of the file.

    Attributes:
        name: what later documents call its result; None = the last result, which none of them uses.
        job: the merge.
        needs: the stages whose results are among its models.
    """

    name: str | None
    job: MergeModels
    needs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StagesResult:
    """What all stages left behind.

    Attributes:
        results: of those that were made, in order.
        kept: names of those that were there already.
    """

    results: tuple[Any, ...]
    kept: tuple[str, ...]

    def summary(self) -> str:
        """What the command line says at the end."""
        lines = [f"{name}: there already, from the same inputs and settings" for name in self.kept]
        return "\n".join([*lines, *(result.summary() for result in self.results)])


@dataclass(frozen=True, kw_only=True)
class MergeStages:
    """The documents of a file in an order in which they can run.

    The unnamed document's result is `out`, and those of named ones are folders beside it, `<out>-stages/<name>`. Where all
    are named, they are folders in `out`. A stage that is there already, made of the same bytes by the same settings, is
    kept.
    """

    stages: tuple[Stage, ...]

    name = MergeModels.name

    def fingerprint(self) -> str:
        """A short hash of all merges."""
        return hashlib.sha256("".join(stage.job.fingerprint() for stage in self.stages).encode()).hexdigest()[:12]

    def preflight(self) -> list[Problem]:
        """What can be found before the first stage is made: all of those that need no other, the models of the rest."""
        found = []
        for stage in self.stages:
            folder = Path(stage.job.output_dir)
            if folder.exists():
                found += problems_in(lambda stage=stage: _is_made(stage))  # type: ignore[misc]
            elif not stage.needs:
                found += stage.job.preflight()
            else:
                places = {one.job.output_dir for one in self.stages if one.name in stage.needs}
                found += open_parts(MergeModels.opens, _without(stage.job, places))[1]
        return list(dict.fromkeys(found))

    def preview(self) -> str:
        """Nothing but a refusal of what `preflight` finds.

        Raises:
            RecipeError: with all of it.
        """
        problems = self.preflight()
        if problems:
            raise RecipeError(problems)
        return ""

    def run(self, resume: bool = False, *, device: str | None = None, threads: int | None = None) -> StagesResult:
        """Merge, one after the other.

        Args:
            resume: makes no difference, see above.
            device: where to compute.
            threads: tensors at once.
        """
        last = self.stages[-1]
        if last.name is None:
            check_place(Path(last.job.output_dir))
        results, kept = [], []
        for stage in self.stages:
            if _is_made(stage):
                kept.append(str(stage.name))
                logger.info("%s is there already, from the same inputs and settings", stage.job.output_dir)
            else:
                logger.info("merging %s", stage.name or "the last stage")
                results.append(stage.job.run(device=device, threads=threads))
        return StagesResult(results=tuple(results), kept=tuple(kept))


def load_any_merge(file: Path, out: Path, overrides: Sequence[str] = ()) -> "MergeModels | MergeStages":
    """One merge, or those of a file with several documents; see `load_merge` and `load_stages`."""
    try:
        several = file.is_file() and holds_several_documents(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        several = False
    if not several:
        return load_merge(file, out, overrides)
    if overrides:
        message = f"{file} is a mergekit-multi file, whose values are not a recipe's; edit the file"
        raise RecipeError([Problem(path="--set", message=message)])
    return load_stages(file, out)


def load_stages(file: Path, out: Path) -> MergeStages:
    """A file with several mergekit configurations.

    Raises:
        CompressionError: documents are wrong, each with its line; two have one name, or none; stages need one another.
    """
    roots = read_documents(file.read_text(encoding="utf-8"), str(file))
    named = {_name(root): root for root in reversed(roots)}
    for root in roots:
        if named[_name(root)] is not root:
            called = _name(root)
            root.refuse(
                f"two documents are called {called!r}" if called else "two documents have no name; name all but one"
            )
    out = expand(str(out), "output_dir")
    inside = out if None not in named else out.with_name(f"{out.name}-stages")
    places = {name: str(inside / name) for name in named if name is not None}
    stages: list[Stage] = []

    def read(root: Node) -> None:
        imported = import_document(root, places)
        needs = tuple(name for name, place in places.items() if place in _models(imported.merge))
        name = _name(root)
        stages.append(Stage(name=name, job=job_of(imported, Path(places[name]) if name else out), needs=needs))

    check_all(*(partial(read, root) for root in roots))
    return MergeStages(stages=tuple(_ordered(stages, roots)))


def _name(root: Node) -> str | None:
    """What the document calls its result."""
    node = root.mapping("a mergekit configuration").get("name")
    if node is None or node.value is None:
        return None
    name = node.text("name")
    if Path(name).name != name or name in (".", ".."):
        node.refuse(f"name {name!r} is not the name of a folder; write one word")
    return name


def _models(merge: Merge) -> set[str]:
    return {member.model for member in merge.members} | ({merge.base} if merge.base else set())


def _ordered(stages: Sequence[Stage], roots: Sequence[Node]) -> list[Stage]:
    """Each behind those it needs, else as the file has them; the unnamed one last."""
    left = sorted(zip(stages, roots, strict=True), key=lambda pair: pair[0].name is None)
    done: list[Stage] = []
    while left:
        made = {stage.name for stage in done}
        ready = next((pair for pair in left if made.issuperset(pair[0].needs)), None)
        if ready is None:
            stage, root = left[0]
            root.refuse(f"{stage.name or 'this document'} needs {stage.needs[0]}, which needs it in turn; break the circle")
        left.remove(ready)
        done.append(ready[0])
    return done


def _is_made(stage: Stage) -> bool:
    """Whether the stage's folder is there, from the same bytes and settings.

    Raises:
        CompressionError: it is there from others.
    """
    from hf_compress.merging.engine.opened import OpenedMerge

    folder = Path(stage.job.output_dir)
    if not folder.exists() or stage.name is None:
        return False
    try:
        known = Manifest.read(folder).facts
    except CompressionError:
        known = {}
    made = {key: known.get(key) for key in ("merge", "inputs")}
    if made["merge"] is not None:
        job = OpenedMerge(stage.job.plain(), 1)
        if made == json.loads(json.dumps({"merge": dump(job.public.merge, full=True), "inputs": job.hashes})):
            return True
    raise CompressionError(f"{folder} is there, and not what {stage.name} makes of its inputs now; remove it")


def _without(job: MergeModels, places: set[str]) -> dict[str, Any]:
    """The fields of a job that name models which are there already, and its folder."""
    return {
        "members": tuple(member for member in job.members if member.model not in places),
        "base": None if job.base in places else job.base,
        "base_adapter": job.base_adapter,
        "output_dir": job.output_dir,
    }
