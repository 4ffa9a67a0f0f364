"""`hf-compress verify`: a published folder, measured again."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress.checkpoints.location import folder_of
from hf_compress.checkpoints.manifest import CHECKPOINT, MANIFEST, Manifest
from hf_compress.inputs.row_hash import row_hash
from hf_compress.inputs.sources import open_source
from hf_compress.jobs.verify.checks import Check, check_card, check_files, check_manifest, check_report, check_size
from hf_compress.tasks.opened import open_data

_ELSEWHERE = "other models, whose weights are not here"
_OTHERS = {"ensemble": "members by themselves, which are measured again as one ensemble alone"}
"""Kind of manifest -> why rows before the last are not measured."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of a folder's claims.

    Attributes:
        name: of the folder or repository.
        checks: the claims.
    """

    name: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Nothing that was looked at is otherwise."""
        return all(check.holds is not False for check in self.checks)

    def summary(self) -> str:
        """A line for each claim, and one for all."""
        wrong = sum(check.holds is False for check in self.checks)
        open_ones = sum(check.holds is None for check in self.checks)
        last = f"{wrong} claims do not hold" if wrong else "every claim that was checked holds"
        more = f" ({open_ones} not checked)" if open_ones else ""
        return "\n".join([*map(str, self.checks), f"{self.name}: {last}{more}"])


def verify(name: str, data: str | None = None, measure: bool = True) -> Verification:
    """Look at a published folder: files, card, report, size, rows, and its metrics measured again.

    Args:
        name: a folder, or a repository of the Hub.
        data: where the rows lie, if not where the manifest says; a card says only the last name of a local file.
        measure: run the model. Without, and where something was found to be changed, metrics are not measured.

    Raises:
        CompressionError: there is no such folder, it was not written by hf_compress, or there is no such data.
    """
    folder = _fetched(name)
    manifest = Manifest.read(folder)
    if manifest.kind == CHECKPOINT:
        raise CompressionError(f"FOLDER: {name} is a checkpoint of a training, which claims nothing; name the run's result")
    if data is not None:
        _refuse_absent(manifest, data)
    checks = [
        check
        for look in (check_manifest, check_files, check_card, check_report, check_size)
        for check in _guarded(look, folder, manifest)
    ]
    changed = any(check.holds is False for check in checks)
    checks += _guarded(_check_measured, folder, manifest, data, measure and not changed)
    return Verification(name=name, checks=tuple(checks))


def _fetched(name: str) -> Path:
    folder = folder_of(name, "FOLDER")
    if folder is not None:
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name))
    except Exception as error:  # the Hub client raises many kinds; each means: cannot be had
        raise CompressionError(
            f"{name!r} is not a local folder, and the Hub could not give it: {reason_of(error)}"
        ) from error


def _guarded(look: Any, *arguments: Any) -> list[Check]:
    """What a look found; a manifest that is so damaged that it cannot be looked at is a claim that does not hold."""
    found: list[Check] = []
    try:
        found.extend(look(*arguments))
    except (CompressionError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        found.append(Check(what=MANIFEST, holds=False, says=f"cannot be what was written ({reason_of(error)})"))
    return found


def _check_measured(folder: Path, manifest: Manifest, data: str | None, measure: bool) -> Iterator[Check]:
    """The rows by their hash, then every metric within its tolerance."""
    report, rows = manifest.facts.get("report"), manifest.facts.get("data")
    if report is None:
        yield Check(what="metrics", holds=None, says="the card has none")
        return
    others = [row["name"] for row in report["rows"][:-1]]
    if others:
        yield Check(what=", ".join(others), holds=None, says=_OTHERS.get(manifest.kind, _ELSEWHERE))
    if rows is None or manifest.fact("task") is None:
        yield Check(what="metrics", holds=None, says="the manifest does not say on which rows they were measured")
        return
    try:
        recipe = _recipe(manifest, data)
        found = open_data(recipe.data, recipe.task, recipe.seed, "test")[0]["test"]
    except CompressionError as error:
        reason = str(error).replace("\n", "; ")
        yield Check(what="rows", holds=None, says=f"cannot be had ({reason}); say where they are with --data")
        return
    digest = row_hash(found, recipe.task.columns())
    held = digest == rows["sha256"] and len(found) == rows["num_rows"]
    yield Check(what="rows", holds=held, says=f"{len(found)} with SHA-256 {digest[:16]}...")
    if not measure or not held:
        why = "not measured" if held else "on other rows they say nothing"
        yield Check(what="metrics", holds=None, says=why)
        return
    model, metrics = _measured(folder, recipe)
    row = report["rows"][-1]
    yield from _compare(manifest, row, metrics)
    yield from _check_sparsity(model, recipe, row)


def _refuse_absent(manifest: Manifest, data: str) -> None:
    """Refuse rows that were named and are not to be had; they would only count as not checked."""
    try:
        source = _recipe(manifest, data).data
    except (CompressionError, LookupError, TypeError, ValueError, AttributeError):
        return  # a recipe that is damaged, or measures nothing, is said among the claims
    try:
        open_source(source)
    except CompressionError as error:
        raise CompressionError(str(error).replace("data.path: ", "--data: ", 1)) from error


def _recipe(manifest: Manifest, data: str | None) -> Any:
    """The manifest's, with the rows where they are."""
    from hf_compress.recipe.recipe import Recipe

    recipe: Any = Recipe.from_plain(manifest.recipe)
    if not all(hasattr(recipe, name) for name in ("task", "data", "evaluation", "seed")):
        raise CompressionError(f"the recipe is one of the job {recipe.name}, which measures nothing")
    return recipe if data is None else dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=data))


def _measured(folder: Path, recipe: Any) -> tuple[Any, dict[str, float]]:
    """The model as those who use it load it, and its metrics."""
    import torch

    from hf_compress.evaluation.asked import ask
    from hf_compress.evaluation.finished import load_finished
    from hf_compress.tasks.opened import open_inputs

    evaluation = recipe.evaluation
    opened = open_inputs(str(folder), recipe.data, recipe.task, seed=recipe.seed, measured="test")
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = load_finished(opened, str(folder)).to(device)  # type: ignore[arg-type]
    if recipe.name == "ensemble":
        return model, ask(model, opened, "test", evaluation.batch_size, evaluation.metrics, "measuring again").metrics
    metrics = opened.task.evaluate(
        model,
        opened.examples["test"],
        opened.raw["test"],
        opened.processor,
        evaluation.batch_size,
        "measuring again",
        evaluation.metrics,
    )
    return model, metrics


def _check_sparsity(model: Any, recipe: Any, row: dict[str, Any]) -> Iterator[Check]:
    """Zeros of the pruned layers as they are loaded: those that pruning made, and those of rounding."""
    from hf_compress.pruning.compute import measure_sparsity

    if row.get("sparsity") is None:
        return
    try:
        found = measure_sparsity(model, recipe.pruning)[""]
    except (CompressionError, AttributeError) as error:
        yield Check(what="sparsity", holds=None, says=f"cannot be counted in the loaded model ({reason_of(error)})")
        return
    says = f"{found:.4f} of the loaded weights are 0, the card {row['sparsity']:.4f} before rounding"
    yield Check(what="sparsity", holds=found >= row["sparsity"] - 1e-6, says=says)


def _compare(manifest: Manifest, row: dict[str, Any], found: dict[str, float]) -> Iterator[Check]:
    tolerances = manifest.facts.get("tolerance") or {}
    for metric, value in row["metrics"].items():
        tolerance = tolerances.get(metric, 0.0)
        if metric not in found:
            yield Check(what=metric, holds=False, says=f"the recipe does not measure it, and the card says {value:.6g}")
            continue
        now = found[metric]
        # Of what is no finite number the tolerance is none either.
        same = now == value or (math.isnan(now) and math.isnan(value))
        held = same or (math.isfinite(value) and abs(now - value) <= tolerance)
        says = f"{now:.6g}, the card {value:.6g}, tolerance {tolerance:.3g}"
        yield Check(what=metric, holds=held, says=says)
