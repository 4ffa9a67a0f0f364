"""One training step under distillation: teacher, student, loss, and what is logged of it."""

from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.objective import distillation_objective
from hf_compress.distillation.task_loss import task_kind


class DistillationStep:
    """The loss of a Trainer whose student has a teacher.

    Owns what distillation adds to a Trainer: the loaded teacher, the factor that makes a sum over items a mean over the
    accumulated batch, the routers' loss, and the sums that are logged.

    Args:
        distillation: teacher, losses and weights.
        student: the model before any other compression; a teacher may copy it.
        device: where batches will be.

    Raises:
        CompressionError: the student's head has no known loss, or the teacher does not fit.
    """

    def __init__(self, distillation: Distillation, student: nn.Module, device: torch.device) -> None:
        task_kind(student)
        self.distillation = distillation
        self.teacher = distillation.teacher.load(student, device)
        self._sums: dict[str, Tensor] = {}
        self._first_step = 0

    def loss(
        self, trainer: Any, model: nn.Module, inputs: dict[str, Any], num_items: Tensor | int | None
    ) -> tuple[Tensor, Any]:
        """The objective of one micro-batch, and the student's outputs.

        Args:
            trainer: the Trainer that trains `model`.
            model: the student as the Trainer wraps it.
            inputs: the batch; labels are taken out, so that the head computes no loss of its own.
            num_items: valid items in the accumulated batch, over all processes where the Trainer counts so.
        """
        student = trainer.model
        inputs = dict(inputs)
        labels, shift_labels = inputs.pop("labels", None), inputs.pop("shift_labels", None)
        if labels is None:
            raise CompressionError("distillation needs labels in every batch to know which positions count; add them")
        if "decoder_input_ids" not in inputs and hasattr(student, "prepare_decoder_input_ids_from_labels"):
            inputs["decoder_input_ids"] = student.prepare_decoder_input_ids_from_labels(labels=labels)
        with trainer.accelerator.autocast():
            signal = self.teacher.signal(inputs)
        outputs = model(**inputs)
        kind = task_kind(student, labels)
        total, task, distilled = distillation_objective(
            self.distillation, outputs.logits, labels, signal, kind, shift_labels
        )
        scale = _scale(trainer, labels, num_items)
        self._note(trainer.state.global_step, task_loss=task * scale, distillation_loss=distilled * scale)
        return total * scale + _router_loss(trainer, outputs), outputs

    def _note(self, step: int, **losses: Tensor) -> None:
        """Sum on the device; nothing is synchronised before the next log."""
        if not self._sums:
            self._first_step = step
        for name, value in losses.items():
            known = self._sums.get(name)
            self._sums[name] = value.detach() if known is None else known + value.detach()

    def logs(self, trainer: Any) -> dict[str, float]:
        """Means per step since the last log, over all processes; begins anew."""
        steps = max(trainer.state.global_step - self._first_step, 1)
        sums, self._sums = self._sums, {}
        return {name: round(trainer.accelerator.gather(value).mean().item() / steps, 6) for name, value in sums.items()}


def _scale(trainer: Any, labels: Tensor, num_items: Tensor | int | None) -> Tensor | float:
    """1 / items in the accumulated batch, times the processes whose gradients DDP will average."""
    if num_items is None:
        items = labels.ne(-100).sum().clamp(min=1) * trainer.current_gradient_accumulation_steps
        return 1.0 / items
    items = torch.as_tensor(num_items, device=labels.device).clamp(min=1)
    processes = trainer.accelerator.num_processes // trainer.get_tp_size()
    return (processes if trainer.args.average_tokens_across_devices else 1) / items


def _router_loss(trainer: Any, outputs: Any) -> Tensor | float:
    """The load-balancing loss of mixture-of-experts models that return one: a mean per micro-batch."""
    auxiliary = getattr(outputs, "aux_loss", None)
    if auxiliary is None:
        return 0.0
    coefficient = getattr(trainer.model.config.get_text_config(), "router_aux_loss_coef", 0.0)
    return coefficient * auxiliary / trainer.current_gradient_accumulation_steps
