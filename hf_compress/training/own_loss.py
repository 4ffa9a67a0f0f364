"""Which loss the mixin computes itself, if any."""

from typing import Any

import torch
from torch import Tensor, nn

from hf_compress.tasks.row_kind import RowKind
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.distillation_step import DistillationStep
from hf_compress.training.dry_run import rehearse_distillation, rehearse_task_loss
from hf_compress.training.exact_task_loss import ExactTaskLoss
from hf_compress.training.first_batch import first_batch, obstacle, say_empty_start, undisturbed
from hf_compress.training.loading import from_first
from hf_compress.training.student_pass import at_least_one


class OwnLoss:
    """The loss that stands in for the host's: with a teacher, or where the head would return a mean.

    Args:
        trainer: made, with its model prepared.
        distillation: the step of a run with a teacher.
        exact_task_loss: the exact task loss is wanted, not wanted, or None: with pruning or quantization.

    Attributes:
        distillation: that step, or None.
        step: what computes the loss in training; None = the host's own.

    Raises:
        CompressionError: a first batch shows that distillation would fail, or the data has no label to learn from.
    """

    def __init__(self, trainer: Any, distillation: DistillationStep | None, exact_task_loss: bool | None) -> None:
        self.distillation = distillation
        self.step = _first_step(trainer, distillation, exact_task_loss)
        self._kind: RowKind | None = None
        self._unread = bool(trainer.compression) and bool(obstacle(trainer))
        self._head_takes_items = trainer.model_accepts_loss_kwargs or self.step is None
        if self.step is not None:
            # The loss is a sum over the items of the whole accumulated batch, so the Trainer must count them for every
            # model, also for one whose own forward does not take their number.
            trainer.model_accepts_loss_kwargs = True
        if distillation is not None:
            trainer.loss_is_scaled_for_ga = True

    def follow(self, distillation: DistillationStep | None, model: nn.Module) -> None:
        """The same for another model that `model_init` has made."""
        self.distillation, self._kind = distillation, None
        if self.step is not None:
            self.step = distillation or ExactTaskLoss(model)

    def compute(
        self, trainer: Any, model: nn.Module, inputs: dict[str, Any], num_items: Tensor | int | None
    ) -> tuple[Tensor, Any] | None:
        """The loss of one micro-batch and the outputs; None where the host's own is right, as in evaluations."""
        step = self.step if trainer.model.training else None
        computed = None if step is None else step.loss(trainer, model, inputs, num_items)
        if computed is None and self.distillation is not None:
            self.distillation.token_metrics.catch_up(trainer)
        return computed

    def items_for_head(self, trainer: Any, num_items: Tensor | int | None) -> Tensor | int | None:
        """What a head is told whose own loss is taken: nothing where it would not be told without the mixin."""
        items = num_items if self._head_takes_items else None
        return at_least_one(items) if trainer.model.training and (trainer.compression or self.step is not None) else items

    def num_items(self, trainer: Any, batches: Any, counted: Tensor | int | None) -> Tensor | int | None:
        """The items of an accumulated batch, over all processes where the Trainer counts so.

        Says where the first step has nothing to learn from, in data that could not be looked at before.

        Args:
            trainer: whose they are.
            batches: its micro-batches.
            counted: by the Trainer.
        """
        items = self._counted(trainer, batches, counted) if self.step is not None and batches else counted
        if self._unread and batches:
            say_empty_start(items)
            self._unread = False
        return items

    def _counted(self, trainer: Any, batches: Any, counted: Tensor | int | None) -> Tensor | int | None:
        """As the kind of rows counts, where the Trainer counts other things than it."""
        if self._kind is None:  # the same for all batches: their labels are one column
            self._kind = task_kind(trainer.model, batches[0].get("labels"))
        kind = self._kind
        if kind.counted_by_trainer or not all(name in batch for batch in batches for name in kind.targets):
            return counted
        items = torch.stack([kind.num_items(batch).to(trainer.args.device) for batch in batches]).sum()
        if trainer.args.average_tokens_across_devices and trainer.args.world_size > 1:
            items = trainer.accelerator.gather(items).sum() / trainer.get_tp_size()
        return kind.divisor(items)

    def logs(self, trainer: Any) -> dict[str, float]:
        """Both parts of the loss with a teacher, else nothing; begins anew."""
        return {} if self.distillation is None else self.distillation.logs(trainer)


def _first_step(
    trainer: Any, distillation: DistillationStep | None, exact_task_loss: bool | None
) -> DistillationStep | ExactTaskLoss | None:
    """That of distillation; else the exact task loss, where the head needs it."""
    if distillation is not None:
        rehearse_distillation(trainer, distillation)
        return distillation
    edits_weights = trainer.compression.edits_weights
    if exact_task_loss is False or (exact_task_loss is None and not edits_weights):
        task_loss = None
    else:
        task_loss = ExactTaskLoss.of(trainer, trainer.model)
    if task_loss is not None:
        return rehearse_task_loss(trainer, task_loss)
    if edits_weights:
        from_first(trainer, lambda: _try_first_batch(trainer))
    return None


def _try_first_batch(trainer: Any) -> None:
    with undisturbed(trainer.model):
        first_batch(trainer)
