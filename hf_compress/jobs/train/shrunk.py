"""The model that a recipe's `shrink` leaves: made once of the dense one, kept in the run's folder, trained from there."""

import copy
import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from hf_compress import _distributed
from hf_compress._disk import disk_errors
from hf_compress._errors import CompressionError, reason_of
from hf_compress._folders import written_beside
from hf_compress._registry import dump
from hf_compress._sharding.contract import loading_whole
from hf_compress.architectures.architecture import architecture_of
from hf_compress.calibration.examples import calibration_batches
from hf_compress.checkpoints.hashes import weight_hashes
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.teachers.model import ModelTeacher
from hf_compress.export.formats.dense import write_dense
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.jobs.train.settings import TrainSettings
from hf_compress.pruning.shrink.apply import shrink
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.pruning.shrink.planned import PlannedShrink
from hf_compress.pruning.shrink.planned_vocabulary import PlannedVocabulary
from hf_compress.pruning.shrink.removal import PlannedRemoval, Removal
from hf_compress.pruning.shrink.smaller_model import smaller_model
from hf_compress.pruning.shrink.vocabulary_choice import without_rows
from hf_compress.pruning.shrink.within_budget import choose_parts
from hf_compress.tasks.opened import Opened
from hf_compress.training.compression import Compression

logger = logging.getLogger(__name__)

CHOICE = "shrink.json"
"""Beside the shrunk model's weights: the plan, what was chosen, and the weights' SHA-256."""
_WAY_OUT = "remove the run's folder, and start again"


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """What a run trains in the place of the dense model.

    Attributes:
        removal: what was removed, and what that saves.
        opened: the run's inputs with this model in the place of the dense one.
        dense: the folder or Hub id of the dense model that knows the same pieces.
    """

    removal: Removal
    opened: Opened
    dense: str


def shrink_once(
    recipe: TrainSettings,
    planned: PlannedRemoval,
    opened: Opened,
    folder: RunFolder,
    dense: str,
    device: torch.device,
) -> Shrunk:
    """The shrunk model of a run; made where it is not there yet, so that a run that goes on trains the same one.

    Of several processes each measures its share of the calibration, all choose alike, and the first writes.

    Args:
        recipe: with `shrink`.
        planned: what that takes out.
        opened: its model, data and task.
        folder: the run's.
        dense: the folder or Hub id of the dense model.
        device: where to measure.

    Raises:
        CompressionError: see `choose_parts`; or what lies in the folder is not what a run has written there.
    """
    if planned.vocabulary is not None:
        opened = _with_vocabulary_once(recipe, planned.vocabulary, opened, folder, dense)
        dense = str(folder.vocabulary)
    plan = planned.plan
    if plan is None:
        return Shrunk(removal=planned.done(None), opened=opened, dense=dense)
    if not folder.shrunk.exists():
        logger.info("shrinking the model")
        with loading_whole():
            model = _distributed.together(lambda: opened.load_model(recipe.seed, dense)).to(device)
        choice = _distributed.together(lambda: choose_parts(model, plan, _batches(recipe, opened)))
        logger.info("%s", choice.describe())
        known = {"plan": dump(recipe.shrink), "choice": choice.to_plain()}
        _distributed.first_alone(lambda: _write(shrink(model, choice), opened, folder, folder.shrunk, known))
    known = _read(folder.shrunk)
    try:
        choice = ShrinkChoice.from_plain(known["choice"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(folder.shrunk, error) from error
    return Shrunk(removal=planned.done(choice), opened=_from(opened, folder.shrunk), dense=dense)


def _with_vocabulary_once(
    recipe: TrainSettings, planned: PlannedVocabulary, opened: Opened, folder: RunFolder, dense: str
) -> Opened:
    """The inputs with the dense model's smaller vocabulary; that model is made where it is not there yet."""
    choice = planned.choice

    def write() -> None:
        if folder.vocabulary.exists():  # asked here, because a slower process might see what the first has just made
            return
        logger.info("taking rows of the vocabulary out")
        with loading_whole():
            small = without_rows(opened.load_model(recipe.seed, dense), choice)
        _write(small, planned.opened, folder, folder.vocabulary, {"kept": list(choice.kept)})

    _distributed.first_alone(write)
    if _read(folder.vocabulary).get("kept") != list(choice.kept):
        raise CompressionError(
            f"{folder.vocabulary} keeps other rows of the vocabulary than the training rows use now; {_WAY_OUT}"
        )
    return _from(planned.opened, folder.vocabulary)


def _batches(recipe: TrainSettings, opened: Opened) -> Any:
    if recipe.calibration is None:
        return None
    return calibration_batches(opened.examples["train"], opened.task.collator(opened.processor), recipe.calibration)


def _write(model: Any, opened: Opened, folder: RunFolder, place: Path, known: dict[str, Any]) -> None:
    with disk_errors(folder.path), loading_whole(), written_beside(place) as part:
        write_dense(model, part, opened.processor, place=place)
        known = {**known, "weights": weight_hashes(part)}
        (part / CHOICE).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any]:
    """What is known of the model that lies there, where it is whole.

    Raises:
        CompressionError: it is not.
    """
    try:
        known: dict[str, Any] = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
        weights = known["weights"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _unreadable(folder, error) from error
    if weight_hashes(folder) != weights:
        raise CompressionError(
            f"{folder} does not hold the weights that this run has written there (another SHA-256); {_WAY_OUT}"
        )
    return known


def _unreadable(folder: Path, error: Exception) -> CompressionError:
    return CompressionError(f"{folder / CHOICE} cannot be read ({reason_of(error)}); {_WAY_OUT}")


def _from(opened: Opened, folder: Path) -> Opened:
    """The inputs with the model of a folder in the place of the dense one."""
    small = copy.copy(opened)
    small.model, small.config = str(folder), from_pretrained(AutoConfig, str(folder), "shrink")
    return small


def taught_by_dense(compression: Compression, dense: str) -> Compression:
    """What a shrunk model's training does: a teacher that is the student before compression is the dense model.

    Args:
        compression: the recipe's.
        dense: the folder or Hub id of the dense model.
    """
    asked = compression.distillation
    needs = compression.pruning is not None and compression.pruning.needs
    own = dataclasses.replace(compression, calibration=compression.calibration if needs else None)
    if asked is None or not isinstance(asked.teacher, ModelTeacher) or asked.teacher.model is not None:
        return own
    # In fp32, as a copy of the student would be.
    dtype = "float32" if asked.teacher.dtype == "auto" else asked.teacher.dtype
    teacher = dataclasses.replace(asked.teacher, model=dense, dtype=dtype)
    return dataclasses.replace(own, distillation=dataclasses.replace(asked, teacher=teacher))


def shrunk_for_trial(model: Any, planned: PlannedRemoval) -> Any:
    """A model of the vocabulary and counts that a plan leaves, of the first parts, to see early what becomes of such."""
    if planned.vocabulary is not None:
        model = without_rows(model, planned.vocabulary.choice)
    if planned.parts is None:
        return model
    return smaller_model(model, architecture_of(model), planned.parts.before, planned.parts.kept)


def check_losses(distillation: Distillation, planned: PlannedShrink) -> None:
    """Refuse losses that compare layers by their places, where the student loses some.

    Raises:
        CompressionError: naming the loss.
    """
    inside = [need for need in distillation.needs if need != "logits"]
    if inside and planned.after.layers < planned.before.layers:
        term = next(term for term in distillation.losses if inside[0] in term.loss.needs)
        raise CompressionError(
            f"{term.loss.name} compares layers by their places, and behind `shrink` with {planned.after.layers} of"
            f" {planned.before.layers} layers a place of the student is another one of the teacher's; take losses on"
            " logits, or shrink widths alone"
        )
