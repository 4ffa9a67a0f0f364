"""One training step under distillation: teacher, student, loss, and what is logged of it."""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress.distillation.answers import Answers
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.features import check_attached
from hf_compress.distillation.objective import Sums, check_kind, distillation_objective, task_objective
from hf_compress.distillation.projections import Projections
from hf_compress.inputs.tokenizers import tokenizer_of
from hf_compress.tasks.heads import base_model
from hf_compress.tasks.task_loss import task_kind
from hf_compress.training.student_pass import (
    StudentPass,
    accumulation_steps,
    loss_scale,
    router_loss,
    student_pass,
    take_targets,
)
from hf_compress.training.token_metrics import TokenMetrics


class DistillationStep:
    """The loss of a Trainer whose student has a teacher.

    Owns what distillation adds to a Trainer: the loaded teacher, the losses' projections and the sums that are logged.

    Args:
        distillation: teacher, losses and weights.
        student: the model before any other compression; a teacher may copy it.
        trainer: whose model it is.

    Raises:
        CompressionError: the student's head has no known loss, a loss is not defined for it or does not fit the models, or
            the teacher does not fit.
    """

    def __init__(self, distillation: Distillation, student: nn.Module, trainer: Any) -> None:
        check_kind(distillation, task_kind(student), type(student).__name__)
        self.distillation = distillation
        self._student = Answers(student, ("logits", *(need for need in distillation.needs if need != "logits")))
        self.projections = Projections(distillation, base_model(student).config, trainer.args.seed)
        device = next(student.parameters()).device  # before it is sharded the CPU, where a first batch is tried
        self.projections.modules.to(device)
        tokenizer = tokenizer_of(getattr(trainer, "processing_class", None))
        self.teacher = distillation.teacher.load(student, device, tokenizer, distillation.needs)
        self.token_metrics = TokenMetrics.of(trainer)
        self._sums: dict[str, Tensor] = {}
        self._first_step = 0
        self._settled = False

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
        self._settle(trainer)
        sums, seen = self._sums_of(trainer, model, inputs)
        accumulation = accumulation_steps(trainer)
        scale = loss_scale(trainer, sums.items, num_items, accumulation)
        self._note(
            trainer.state.global_step,
            task_loss=sums.task * scale,
            distillation_loss=sums.distilled * scale,
            agreed=sums.agreed,
            compared=sums.compared,
        )
        self.token_metrics.note(sums, seen.inputs, seen.outputs)
        return sums.total * scale + router_loss(trainer, seen.outputs, accumulation), seen.outputs

    def _settle(self, trainer: Any) -> None:
        """Once the student is where it trains, the others go there too."""
        if not self._settled:
            self.projections.modules.to(trainer.args.device)
            self.teacher.settle(trainer.model, trainer.args.device)
            self._settled = True

    def rehearse(self, trainer: Any, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Any], torch.dtype]:
        """A batch's task loss as the head counts, what teacher and student were given, and the logits' type."""
        _, seen = self._sums_of(trainer, trainer.model, batch)
        total, items = task_objective(seen.logits, seen.targets, seen.kind, seen.heard)
        task = total / items.clamp(min=1) + router_loss(trainer, seen.outputs, 1)
        return task, seen.inputs, seen.logits.dtype

    def head_loss(self, trainer: Any, batch: dict[str, Any]) -> Tensor | None:
        """What the student's own head makes of a batch; None where it makes nothing of it."""
        loss: Tensor | None = None
        with contextlib.suppress(Exception), trainer.accelerator.autocast(), self._student.settings():
            loss = getattr(trainer.model(**batch), "loss", None)
        return loss

    def _sums_of(self, trainer: Any, model: nn.Module, inputs: dict[str, Any]) -> tuple[Sums, StudentPass]:
        """The sums of a micro-batch, and what they are made of."""
        student = trainer.model
        kind = task_kind(student, inputs.get("labels"))
        check_kind(self.distillation, kind, type(student).__name__)
        inputs, targets = take_targets(student, inputs, kind)
        with trainer.accelerator.autocast():
            signal = self.teacher.signal(inputs)
            seen = student_pass(model, student, self.token_metrics.ask_routers(inputs), targets, kind, self._student)
        answer = self._student.signal(seen.outputs)
        if torch.is_grad_enabled():
            check_attached(answer)
        sums = distillation_objective(
            self.distillation,
            answer,
            signal,
            targets,
            kind,
            {**inputs, **seen.heard},
            self.token_metrics.wanted,
            self.projections,
        )
        return sums, seen

    def _note(self, step: int, **sums: Tensor) -> None:
        """Sum on the device; nothing is synchronised before the next log."""
        if not self._sums:
            self._first_step = step
        for name, value in sums.items():
            known = self._sums.get(name)
            self._sums[name] = value.detach() if known is None else known + value.detach()

    def logs(self, trainer: Any) -> dict[str, float]:
        """The unweighted losses per step since the last log, and the agreement; over all processes; begins anew."""
        if not self._sums:
            return {}
        sums, self._sums = self._sums, {}
        gathered = trainer.accelerator.gather(torch.stack(list(sums.values())).unsqueeze(0))
        steps = max(trainer.state.global_step - self._first_step, 1)
        values = dict(zip(sums, (gathered.sum(0) if gathered.dim() > 1 else gathered).tolist(), strict=True))
        agreed, compared = values.pop("agreed"), values.pop("compared")
        logs = {name: round(value / len(gathered) / steps, 6) for name, value in values.items()}
        if compared:
            logs["teacher_agreement"] = round(agreed / compared, 6)
        return logs | self.token_metrics.logs(trainer)
