"""The task loss of heads that ignore how many items the accumulated batch has.

The Trainer hands every head with **kwargs that number and then divides by nothing. Heads that compute their loss themselves
(BERT, T5, Whisper, multi-label and regression heads of every architecture) return the mean of the micro-batch all the same,
so their gradient is too large by the accumulation steps, which moves clipping and the log (transformers#47688). Mixtures of
experts divide the loss of their tokens and add the load-balancing loss whole, once per micro-batch.
"""

import ast
import inspect
import logging
import textwrap
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.distillation.answers import Answers
from hf_compress.distillation.objective import task_objective
from hf_compress.tasks.heads import base_model
from hf_compress.tasks.row_kind import RowKind
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.host import loss_is_plain
from hf_compress.training.student_pass import (
    StudentPass,
    accumulation_steps,
    loss_scale,
    router_loss,
    student_pass,
    take_targets,
)

logger = logging.getLogger(__name__)


def hands_on_items(model: nn.Module) -> bool:
    """Whether the head's forward passes `num_items_in_batch` on to its loss function, read from its source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(type(base_model(model)).forward))))
    except (OSError, TypeError, SyntaxError):
        return False
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "loss_function":
            return any(one.arg is None or one.arg == "num_items_in_batch" for one in call.keywords)
    return False


def _adds_router_loss(model: nn.Module) -> bool:
    """Whether the head adds the load-balancing loss of a mixture of experts."""
    config: Any = getattr(base_model(model), "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return bool(getattr(text, "output_router_logits", False) and getattr(text, "router_aux_loss_coef", 0))


def same_loss(measured: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    """Whether two means of one batch are one loss, computed from logits of `dtype`.

    Close, because every loss of a model with random weights is about the logarithm of the classes.
    """
    tolerance = 1e-4 if dtype is torch.float32 else 1e-2
    return bool(torch.isclose(measured.float(), wanted.float(), rtol=tolerance, atol=tolerance / 10))


class ExactTaskLoss:
    """sum of the task losses / items of the accumulated batch, for batches whose head would return a mean.

    Args:
        student: the model that is trained.
    """

    def __init__(self, student: nn.Module) -> None:
        self.hands_on = hands_on_items(student)
        self._student = Answers(student)

    @classmethod
    def of(cls, trainer: Any, student: nn.Module) -> "ExactTaskLoss | None":
        """For a trainer whose head needs it; None where the head is right, or where its loss is not known."""
        if not loss_is_plain(trainer):
            return None
        try:
            if not set(task_kind(student).targets) <= set(trainer.label_names):
                return None
        except CompressionError:
            if not hands_on_items(student) and trainer.model_accepts_loss_kwargs:
                # The Trainer then divides by the accumulation steps: a mean of means, of the right size.
                trainer.model_accepts_loss_kwargs = False
                if trainer.args.gradient_accumulation_steps > 1:
                    logger.warning(
                        "the loss of %s is not known here and ignores the number of items in an accumulated batch:"
                        " micro-batches count alike, however many labels they have",
                        type(student).__name__,
                    )
            return None
        return cls(student)

    def loss(
        self, trainer: Any, model: nn.Module, inputs: dict[str, Any], num_items: Tensor | int | None
    ) -> tuple[Tensor, Any] | None:
        """The loss of one micro-batch and the outputs; None where the head's own loss is right."""
        kind = self._kind(trainer, inputs)
        if kind is None:
            return None
        seen = self._pass(trainer, model, inputs, kind)
        total, items = task_objective(seen.logits, seen.targets, kind, {**seen.inputs, **seen.heard})
        outputs = seen.outputs
        # Where the Trainer counted no items it divides by the accumulation steps itself.
        accumulation = 1 if num_items is None else accumulation_steps(trainer)
        return total * loss_scale(trainer, items, num_items, 1) + router_loss(trainer, outputs, accumulation), outputs

    def rehearse(self, trainer: Any, batch: dict[str, Any]) -> bool:
        """Whether the loss computed here is the head's, on a batch; where the head's own is right it is.

        Some heads weigh classes, smooth labels or add terms of their own; theirs stays.
        """
        kind = self._kind(trainer, batch)
        if kind is None:
            return True
        seen = self._pass(trainer, trainer.model, batch, kind)
        total, items = task_objective(seen.logits, seen.targets, kind, seen.heard)
        with self._student.settings():
            wanted = trainer.model(**batch).loss
        measured = total / items.clamp(min=1) + router_loss(trainer, seen.outputs, 1)
        return same_loss(measured, wanted, seen.logits.dtype)

    def _kind(self, trainer: Any, batch: Mapping[str, Any]) -> RowKind | None:
        """What a row is; None where the head's own loss is right."""
        kind = task_kind(trainer.model, batch.get("labels"))
        if not all(isinstance(batch.get(name), Tensor) for name in kind.targets):
            return None
        adds_whole = trainer.args.gradient_accumulation_steps > 1 and _adds_router_loss(trainer.model)
        return None if self.hands_on and kind.head_divides and not adds_whole else kind

    def _pass(self, trainer: Any, model: nn.Module, inputs: dict[str, Any], kind: RowKind) -> StudentPass:
        inputs, targets = take_targets(trainer.model, inputs, kind)
        with trainer.accelerator.autocast():
            return student_pass(model, trainer.model, inputs, targets, kind, self._student)
