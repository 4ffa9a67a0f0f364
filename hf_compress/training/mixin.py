"""Compression inside any transformers Trainer."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._modules import cast_weights
from hf_compress._units import resolve_point
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.objective import distillation_objective
from hf_compress.distillation.task_loss import task_kind
from hf_compress.distillation.teacher import LoadedTeacher
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.prune import measure_sparsity
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import convert, prepare
from hf_compress.training.callbacks import PruningCallback, QuantizationCallback
from hf_compress.training.compatibility import Situation, check_compatibility
from hf_compress.training.restore import restore_weights
from hf_compress.training.sidecar import SIDECAR, check_sidecar, read_sidecar, sidecar

_Host: Any = object
"""The mixin stands before a Trainer class: `class MyTrainer(CompressionMixin, SFTTrainer)`."""


class CompressionMixin(_Host):
    """Adds pruning, quantization-aware training and distillation to the Trainer class it is mixed into.

    Args:
        pruning: gradual pruning, or None.
        quantization: quantization-aware training, or None.
        distillation: a teacher and losses, or None.
        *args, **kwargs: the Trainer's own arguments.

    Raises:
        CompressionError: targets that match nothing, a combination that does not work, a teacher that does not fit.
    """

    def __init__(
        self,
        *args: Any,
        pruning: Pruning | None = None,
        quantization: Quantization | None = None,
        distillation: Distillation | None = None,
        **kwargs: Any,
    ) -> None:
        self.loss_is_scaled_for_ga: bool | None
        self.pruning = pruning
        self.quantization = quantization
        self.distillation = distillation
        self._teacher: LoadedTeacher | None = None
        self._prepared: nn.Module | None = None
        self._loss_sums: dict[str, Tensor] = {}
        self._loss_steps = 0
        self._pruning_callback: PruningCallback | None = None
        super().__init__(*args, **kwargs)
        check_compatibility(Situation(trainer=self, pruning=pruning, quantization=quantization, distillation=distillation))
        if self._prepared is not self.model:
            self._prepare_compression(self.model)
        if distillation is not None:
            # The loss below is a sum over the items of the whole accumulated batch, so the Trainer must count them for
            # every model and must not divide by the accumulation steps again.
            self.model_accepts_loss_kwargs = True
            self.loss_is_scaled_for_ga = True
        if pruning is not None:
            self._pruning_callback = PruningCallback(pruning)
            self.add_callback(self._pruning_callback)
        if quantization is not None:
            self.add_callback(QuantizationCallback(quantization))

    def _prepare_compression(self, model: nn.Module) -> None:
        """Teacher first (it copies the model as it is), then the modules."""
        if self.distillation is not None:
            task_kind(model)
            self._teacher = self.distillation.teacher.load(model, self.args.device)
        if self.pruning is not None:
            Masks(model, self.pruning)
        if self.quantization is not None:
            prepare(model, self.quantization, enabled=False)
        self._prepared = model

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A fresh model from `model_init` is prepared like the first one."""
        model = super().call_model_init(trial)
        self._prepare_compression(model)
        return model

    # Loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The Trainer's loss; with distillation on, and in training, the distillation objective instead."""
        if self._teacher is None or self.distillation is None or not self.model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = dict(inputs)
        labels, shift_labels = inputs.pop("labels", None), inputs.pop("shift_labels", None)
        if labels is None:
            raise CompressionError("distillation needs labels in every batch to know which positions count; add them")
        if "decoder_input_ids" not in inputs and hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
            inputs["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=labels)
        with self.accelerator.autocast():
            signal = self._teacher.signal(inputs)
        outputs = model(**inputs)
        kind = task_kind(self.model, labels)
        loss, task, distilled = distillation_objective(
            self.distillation, outputs.logits, labels, signal, kind, shift_labels
        )
        scale = self._loss_scale(labels, num_items_in_batch)
        loss = loss * scale + self._router_loss(outputs)
        self._note_losses(task_loss=task * scale, distillation_loss=distilled * scale)
        return (loss, outputs) if return_outputs else loss

    def _loss_scale(self, labels: Tensor, num_items: Tensor | int | None) -> Tensor | float:
        """1 / items in the accumulated batch, times the processes whose gradients DDP will average."""
        if num_items is None:
            items = labels.ne(-100).sum().clamp(min=1) * self.current_gradient_accumulation_steps
            return 1.0 / items
        items = torch.as_tensor(num_items, device=labels.device).clamp(min=1)
        processes = self.accelerator.num_processes // self.get_tp_size()
        return (processes if self.args.average_tokens_across_devices else 1) / items

    def _router_loss(self, outputs: Any) -> Tensor | float:
        """The load-balancing loss of mixture-of-experts models that return one: a mean per micro-batch."""
        auxiliary = getattr(outputs, "aux_loss", None)
        if auxiliary is None:
            return 0.0
        coefficient = getattr(self.model.config.get_text_config(), "router_aux_loss_coef", 0.0)
        return coefficient * auxiliary / self.current_gradient_accumulation_steps

    def _note_losses(self, **losses: Tensor) -> None:
        """Sum on the device; nothing is synchronised before the next log."""
        if not self._loss_sums:
            self._loss_steps = self.state.global_step
        for name, value in losses.items():
            known = self._loss_sums.get(name)
            self._loss_sums[name] = value.detach() if known is None else known + value.detach()

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the two parts of the loss and the sparsity to the training logs."""
        if "loss" in logs:
            steps = max(self.state.global_step - self._loss_steps, 1)
            for name, value in self._loss_sums.items():
                logs[name] = round(self.accelerator.gather(value).mean().item() / steps, 6)
            self._loss_sums = {}
            if self._pruning_callback is not None and self._pruning_callback.masks is not None:
                logs["sparsity"] = round(self._pruning_callback.masks.sparsity().item(), 6)
        super().log(logs, *args, **kwargs)

    # Weights

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Pruned weights hold a share of the gradient norm equal to the sparsity; they must not count in clipping."""
        if self._pruning_callback is not None and self._pruning_callback.masks is not None:
            self._pruning_callback.masks.apply_to_gradients()
        return super()._clip_grad_norm(model)

    def compression_is_complete(self) -> bool:
        """True once the sparsity is final and quantization, if any, is on."""
        step, max_steps = self.state.global_step, self.state.max_steps
        if self.pruning is not None:
            schedule = self.pruning.schedule
            if step < resolve_point(schedule.end, max_steps):
                return False
        return self.quantization is None or step >= resolve_point(self.quantization.begin, max_steps)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """A model on the way is better and not what was asked for, so it never becomes the best."""
        if not self.compression_is_complete():
            return False
        return bool(super()._determine_best_metric(metrics, trial))

    def finalize(self, dtype: str = "auto") -> PreTrainedModel | nn.Module:
        """Check what training promised and hand back the compressed model.

        Args:
            dtype: the type everything that is not quantized will be stored in, e.g. "bfloat16"; "auto" leaves the weights.
                The cast comes before the scales are computed, so that both agree.

        Returns:
            The model: pruned weights are zero, quantized modules carry compressed-tensors' scheme and scales, ready for
            `export.save_compressed`. Without quantization it is an ordinary model.

        Raises:
            CompressionError: training stopped before the schedules ended, or zeros are missing.
        """
        if not self.compression_is_complete():
            raise CompressionError(
                f"training stopped at step {self.state.global_step} of {self.state.max_steps}, before pruning and"
                " quantization were complete; resume it with train(resume_from_checkpoint=True)"
            )
        if self.pruning is not None:
            measured, wanted = measure_sparsity(self.model, self.pruning)[""], self.pruning.schedule.final
            if measured < wanted - 1e-3:
                raise CompressionError(
                    f"the model has sparsity {measured:.4f} and not {wanted:g}: something wrote to pruned weights after the"
                    " last step"
                )
        cast_weights(self.model, dtype)
        if self.quantization is not None:
            convert(self.model)
        return self.model

    # Checkpoints

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Writes the sidecar next to the weights, so that pushes and rotation carry it."""
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir if output_dir is not None else self.args.output_dir)
            data = sidecar(self.model, self.state, self.pruning, self.quantization, self.distillation)
            (folder / SIDECAR).write_text(json.dumps(data, indent=2) + "\n")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Restores every architecture, and refuses a checkpoint of another compression."""
        known = read_sidecar(resume_from_checkpoint)
        if known is not None:
            check_sidecar(known, resume_from_checkpoint, self.pruning, self.quantization, self.distillation)
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        restore_weights(self.model if model is None else model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        """The best checkpoint is restored like any other."""
        super()._load_best_model()
        if self.state.best_model_checkpoint is not None:
            restore_weights(self.model, self.state.best_model_checkpoint)
