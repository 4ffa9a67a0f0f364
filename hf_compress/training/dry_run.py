"""One batch through the loss before the first step, so that what would crash there is one sentence in the constructor."""

import logging
from typing import Any

from torch import Tensor

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.modes import evaluation_mode
from hf_compress._sharding.contract import is_sharded
from hf_compress.distillation.independence import check_independence
from hf_compress.training.distillation_step import DistillationStep
from hf_compress.training.exact_task_loss import ExactTaskLoss, same_loss
from hf_compress.training.first_batch import first_batch, undisturbed
from hf_compress.training.loading import from_first

logger = logging.getLogger(__name__)


def rehearse_distillation(trainer: Any, step: DistillationStep) -> None:
    """Refuse what would stop the first step, and a teacher that is not independent of the student.

    Weights, modes, random states and the data's order stay as they are, so the training that follows is the same to the
    last bit.

    Raises:
        CompressionError: the batch, the student or the teacher does not fit, or the data has no label to learn from.
    """
    if not _is_in_parts(trainer):
        from_first(trainer, lambda: _rehearse_distillation(trainer, step))


def _rehearse_distillation(trainer: Any, step: DistillationStep) -> None:
    with undisturbed(trainer.model), evaluation_mode(step.projections.modules):
        batch = first_batch(trainer)
        if batch is None:
            return
        name = type(trainer.model).__name__
        try:
            measured, inputs, dtype = step.rehearse(trainer, batch)
            check_independence(step.teacher, trainer.model, inputs)
            own = step.head_loss(trainer, batch)
        except CompressionError:
            raise
        except Exception as error:  # each model refuses what it cannot read in its own way
            raise CompressionError(
                f"{name} cannot be distilled on this data, a first batch of {', '.join(batch)} ends in"
                f" {type(error).__name__}: {reason_of(error)}"
            ) from error
    if isinstance(own, Tensor) and own.numel() == 1 and not same_loss(measured, own, dtype):
        logger.warning(
            "the loss of %s is %.4f on a first batch, and the task loss it is distilled with %.4f: the head weighs its rows"
            " or adds terms of its own, which distillation leaves out",
            name,
            own.item(),
            measured.item(),
        )


def rehearse_task_loss(trainer: Any, task_loss: ExactTaskLoss) -> ExactTaskLoss | None:
    """The task loss where it is the head's own on a first batch; None, and a line in the log, where it is another.

    Raises:
        CompressionError: the data has no label to learn from, or makes no batch.
    """
    if _is_in_parts(trainer):
        return task_loss
    reason = from_first(trainer, lambda: _why_its_own(trainer, task_loss))
    if not reason:
        return task_loss
    if not task_loss.hands_on:
        trainer.model_accepts_loss_kwargs = False  # the Trainer then divides by the accumulation steps
    name = type(trainer.model).__name__
    logger.warning("%s keeps its own loss (%s); micro-batches count alike, however many labels they have", name, reason)
    return None


def _why_its_own(trainer: Any, task_loss: ExactTaskLoss) -> str:
    """Why a head keeps its own loss; empty where it does not."""
    with undisturbed(trainer.model):
        batch = first_batch(trainer)
        if batch is None:
            return ""
        try:
            return "" if task_loss.rehearse(trainer, batch) else "it weighs its rows or adds terms of its own"
        except Exception as error:  # the head may still train by its own loss
            return reason_of(error)


def _is_in_parts(trainer: Any) -> bool:
    """A model that was cut when it was loaded computes nothing before the training puts its weights together."""
    found = is_sharded(trainer.model)
    if found:
        logger.info("no batch is tried before the first step: the model's weights lie in parts until then")
    return found
