"""Which loss the mixin computes itself, if any."""

from typing import Any

from hf_compress.training.distillation_step import DistillationStep
from hf_compress.training.dry_run import rehearse_distillation, rehearse_task_loss
from hf_compress.training.exact_task_loss import ExactTaskLoss
from hf_compress.training.first_batch import first_batch, undisturbed


def own_loss(
    trainer: Any, distillation: DistillationStep | None, exact_task_loss: bool | None
) -> DistillationStep | ExactTaskLoss | None:
    """That of distillation; else the exact task loss, where the head needs it; None = the host's own.

    Args:
        trainer: made, with its model prepared.
        distillation: the step of a run with a teacher.
        exact_task_loss: wanted, not wanted, or None: with pruning or quantization.

    Raises:
        CompressionError: a first batch shows that distillation would fail, or the data has no label to learn from.
    """
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
        with undisturbed(trainer.model):
            first_batch(trainer)
    return None
