"""One batch through the loss before the first step, so that what would crash there is one sentence in the constructor."""

import contextlib
import copy
import logging
import random
import types
from collections.abc import Iterator
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from transformers import Trainer

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.modes import evaluation_mode
from hf_compress.distillation.independence import check_independence
from hf_compress.training.distillation_step import DistillationStep
from hf_compress.training.exact_task_loss import ExactTaskLoss, same_loss

logger = logging.getLogger(__name__)

_EXAMPLES = 2
"""Enough for a batch dimension, and little for a large model."""


def rehearse_distillation(trainer: Any, step: DistillationStep) -> None:
    """Refuse what would stop the first step, and a teacher that is not independent of the student.

    Weights, modes, random states and the data's order stay as they are, so the training that follows is the same to the
    last bit.

    Raises:
        CompressionError: the batch, the student or the teacher does not fit.
    """
    with _undisturbed(trainer.model):
        batch = _first_batch(trainer)
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
    """The task loss where it is the head's own on a first batch; None, and a line in the log, where it is another."""
    with _undisturbed(trainer.model):
        batch = _first_batch(trainer)
        if batch is None:
            return task_loss
        try:
            if task_loss.rehearse(trainer, batch):
                return task_loss
            reason = "it weighs its rows or adds terms of its own"
        except Exception as error:  # the head may still train by its own loss
            reason = reason_of(error)
    if not task_loss.hands_on:
        trainer.model_accepts_loss_kwargs = False  # the Trainer then divides by the accumulation steps
    name = type(trainer.model).__name__
    logger.warning("%s keeps its own loss (%s); micro-batches count alike, however many labels they have", name, reason)
    return None


@contextlib.contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and every random state as it was."""
    numbers, legacy = random.getstate(), numpy.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), evaluation_mode(model), torch.no_grad():
        try:
            yield
        finally:
            random.setstate(numbers)
            numpy.random.set_state(legacy)


def _first_batch(trainer: Any) -> dict[str, Any] | None:
    """The first examples through the collator, on the training device; None where reading them would leave a trace."""
    dataset = trainer.train_dataset
    why = _obstacle(trainer, dataset)
    if why is not None:
        if why:
            logger.info("no batch is tried before the first step: %s", why)
        return None
    try:
        collator = copy.deepcopy(trainer.data_collator, _shared(trainer.data_collator))
    except Exception as error:  # a collator may hold anything
        logger.info("no batch is tried before the first step: the collator cannot be copied (%s)", reason_of(error))
        return None
    rows = trainer._remove_unused_columns(dataset, description="training") if _is_table(dataset) else dataset
    try:
        batch = collator([rows[index] for index in range(min(_EXAMPLES, len(rows)))])
    except Exception as error:  # data and collators fail in their own ways, here as in the first step
        raise CompressionError(
            f"the first {min(_EXAMPLES, len(rows))} training examples cannot be made into a batch, which ends in"
            f" {type(error).__name__}: {reason_of(error)}"
        ) from error
    if not isinstance(batch, dict) and not hasattr(batch, "keys"):
        return None
    return {key: value.to(trainer.args.device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def _obstacle(trainer: Any, dataset: Any) -> str | None:
    """Why no batch can be had without a trace; "" where there is nothing to train on, None where one can."""
    if dataset is None or isinstance(dataset, dict):
        return ""
    if type(trainer).get_train_dataloader is not Trainer.get_train_dataloader:
        return f"{type(trainer).__name__} makes its batches itself (get_train_dataloader)"
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return "the data is a stream"
    if len(dataset) == 0:
        return ""
    if not _is_table(dataset) and not isinstance(dataset, list | tuple) and trainer.args.remove_unused_columns:
        return None if _is_plain(dataset) else "the data set draws random numbers of its own"
    return None if _is_plain(dataset) else "the data set draws random numbers of its own"


def _is_table(dataset: Any) -> bool:
    """A `datasets.Dataset`, whose columns the Trainer leaves out where the model does not take them."""
    return hasattr(dataset, "column_names") and hasattr(dataset, "set_format")


def _is_plain(value: Any, depth: int = 4) -> bool:
    """No generator is held by an object, or by the functions it holds; reading it then leaves no trace."""
    if isinstance(value, random.Random | numpy.random.Generator | numpy.random.RandomState | torch.Generator):
        return False
    if depth == 0 or isinstance(value, str | bytes | int | float | Tensor | type | types.ModuleType | None):
        return True
    held: list[Any] = list(getattr(value, "__dict__", {}).values())
    if isinstance(value, list | tuple | set):
        held += list(value)[:16]
    elif isinstance(value, dict):
        held += list(value.values())[:64]
    elif isinstance(value, types.FunctionType):
        held += [cell.cell_contents for cell in value.__closure__ or () if cell != types.CellType()]
    elif hasattr(value, "func") and hasattr(value, "keywords"):  # functools.partial
        held += [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, types.MethodType):
        held += [value.__self__]
    return all(_is_plain(one, depth - 1) for one in held)


def _shared(collator: Any) -> dict[int, Any]:
    """What a copy of a collator takes along as it is: models and tokenizers, which batches do not change."""
    parts = list(getattr(collator, "__dict__", {}).values())
    return {id(part): part for part in parts if isinstance(part, nn.Module) or hasattr(part, "get_vocab")}
