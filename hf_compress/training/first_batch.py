"""The first batch that has something to learn from, read before the first step and without a trace."""

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
from hf_compress._forward.batch import on_device
from hf_compress._modules.modes import evaluation_mode
from hf_compress._random import random_states_kept
from hf_compress._sharding.contract import compute_device
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.host import has_known_loss

logger = logging.getLogger(__name__)

_EXAMPLES = 2
"""Enough for a batch dimension, and little for a large model."""
_TRIES = 256
"""Rows that are looked at at least: a collator that masks at random may leave few rows without a label by chance."""


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and every random state as it was."""
    with random_states_kept(), evaluation_mode(model), torch.no_grad():
        yield


def first_batch(trainer: Any) -> dict[str, Any] | None:
    """The first examples that the loss learns from, through the collator, where the model is: on the CPU before it is
    sharded.

    One that has no label but -100 is passed over: no loss can be judged by it, and data in which every one is like that
    trains nothing.

    Args:
        trainer: made; must not be disturbed, see `undisturbed`.

    Returns:
        None where reading a batch would leave a trace.

    Raises:
        CompressionError: no batch can be made of the examples, or none of them has a label to learn from.
    """
    try:
        found = readable(trainer)
    except CompressionError as error:
        logger.info("no batch is tried before the first step: %s", error)
        return None
    if found is None:
        return None
    rows, collator = found
    for numbers in _pairs(len(rows)):
        batch = _collated(collator, rows, numbers)
        if not isinstance(batch, dict) and not hasattr(batch, "keys"):
            return None
        if learns_from(trainer, batch):
            return on_device(batch, compute_device(next(trainer.model.parameters())))
    raise CompressionError(
        f"no row of the training data has a label to learn from: all that the loss reads are -100 in {len(rows)} rows; let"
        " the data or the collator leave some (a text that is cut off before its answer has none)"
    )


def readable(trainer: Any) -> tuple[Any, Any] | None:
    """The training rows as the collator takes them, and a collator that leaves no trace; None without rows.

    Raises:
        CompressionError: why reading them would leave a trace.
    """
    why = obstacle(trainer)
    if why is not None:
        if why:
            raise CompressionError(why)
        return None
    try:
        collator = copy.deepcopy(trainer.data_collator, _shared(trainer.data_collator))
    except Exception as error:  # a collator may hold anything
        raise CompressionError(f"the collator cannot be copied ({reason_of(error)})") from error
    rows = trainer.train_dataset
    return (trainer._remove_unused_columns(rows, description="training") if _is_table(rows) else rows), collator


def learns_from(trainer: Any, batch: Any) -> bool:
    """Whether the loss reads a label in the batch other than -100; True where it is not known what it reads."""
    if not has_known_loss(trainer):
        return True
    try:
        kind = task_kind(trainer.model, batch.get("labels"))
    except CompressionError:  # a head with a loss of its own
        return True
    if not all(isinstance(batch.get(name), Tensor) and name in trainer.label_names for name in kind.targets):
        return True
    return bool(kind.num_items(batch) > 0)


def say_empty_start(num_items: Tensor | int | None) -> None:
    """A line in the log where the first step has nothing to learn from, in data that could not be looked at before."""
    if num_items is not None and int(num_items) == 0:
        logger.warning(
            "the first step has no label to learn from, all are -100; where no later batch has one, nothing is trained"
        )


def _pairs(num_rows: int) -> Iterator[range]:
    """Row numbers for one batch each, from the first to the last; small data several times."""
    for _ in range(max(1, -(-_TRIES // num_rows))):
        for start in range(0, num_rows, _EXAMPLES):
            yield range(start, min(start + _EXAMPLES, num_rows))


def _collated(collator: Any, rows: Any, numbers: range) -> Any:
    """A batch of rows.

    Raises:
        CompressionError: with what stops the first step too.
    """
    try:
        return collator([rows[number] for number in numbers])
    except Exception as error:  # data and collators fail in their own ways, here as in the first step
        which = f"first {len(numbers)} training examples" if numbers[0] == 0 else f"training examples from {numbers[0]} on"
        raise CompressionError(
            f"the {which} cannot be made into a batch, which ends in {type(error).__name__}: {reason_of(error)}"
        ) from error


def obstacle(trainer: Any) -> str | None:
    """Why no batch can be had without a trace; "" where there is nothing to train on, None where one can."""
    dataset = trainer.train_dataset
    if dataset is None or isinstance(dataset, dict):
        return ""
    if type(trainer).get_train_dataloader is not Trainer.get_train_dataloader:
        return f"{type(trainer).__name__} makes its batches itself (get_train_dataloader)"
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        return "the data is a stream"
    if len(dataset) == 0:
        return ""
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
