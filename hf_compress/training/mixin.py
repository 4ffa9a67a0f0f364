"""Compression inside any transformers Trainer."""

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_compress._modules.ignored import say_unmatched
from hf_compress._modules.kept_weights import weights_kept
from hf_compress._secrets import left_out
from hf_compress.distillation.configuration import Distillation
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import prepare
from hf_compress.training.best_model import BestModelCallback
from hf_compress.training.callbacks import PruningCallback, QuantizationCallback, SidecarCallback
from hf_compress.training.checkpoints import SHORT_STREAM, latest, note_inexact
from hf_compress.training.clock import TrainingClock
from hf_compress.training.compatibility import check_arguments, check_compatibility
from hf_compress.training.compression import Compression
from hf_compress.training.distillation_step import DistillationStep
from hf_compress.training.exact_task_loss import ExactTaskLoss
from hf_compress.training.finalize import after_saving, finalize_model, refuse_finalized, say_what_pushes_hold
from hf_compress.training.first_batch import obstacle, say_empty_start
from hf_compress.training.own_loss import own_loss
from hf_compress.training.progress import Progress
from hf_compress.training.restore import restore_weights
from hf_compress.training.sidecar import SIDECAR, check_sidecar, read_sidecar, sidecar
from hf_compress.training.student_pass import at_least_one

logger = logging.getLogger(__name__)

_Host: Any = object
"""The mixin stands before a Trainer class: `class MyTrainer(CompressionMixin, SFTTrainer)`."""


class CompressionMixin(_Host):
    """Adds pruning, quantization-aware training and distillation to the Trainer class it is mixed into.

    Args:
        pruning: gradual pruning, or None.
        quantization: quantization-aware training, or None.
        distillation: a teacher and losses, or None.
        exact_task_loss: compute the task loss from logits and labels where the head ignores how many items the accumulated
            batch has; None = with pruning or quantization. Distillation always does.
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
        exact_task_loss: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.compression = Compression(pruning=pruning, quantization=quantization, distillation=distillation)
        self.loss_is_scaled_for_ga: bool | None
        self.model_accepts_loss_kwargs: bool
        self.pruning = pruning
        self.quantization = quantization
        self.distillation = distillation
        self._distillation_step: DistillationStep | None = None
        self._ready = False
        self._pruning_callback: PruningCallback | None = None
        self._clock = TrainingClock()
        self._resumes = False
        self.finalized_model: nn.Module | None = None
        self.finalized_dtype = "auto"
        refuse_finalized(kwargs.get("model", args[0] if args else None), done=False)
        if self.compression:
            check_arguments(kwargs["args"] if "args" in kwargs else next(iter(args[1:2]), None))
        super().__init__(*args, **kwargs)
        check_compatibility(self, self.compression)
        self._prepare_compression(self.model)
        self._ready = True
        self._own_loss = own_loss(self, self._distillation_step, exact_task_loss)
        self._unread = bool(self.compression) and bool(obstacle(self))
        self._head_takes_items = self.model_accepts_loss_kwargs or self._own_loss is None
        if self._own_loss is not None:
            # The loss below is a sum over the items of the whole accumulated batch, so the Trainer must count them for
            # every model, also for one whose own forward does not take their number.
            self.model_accepts_loss_kwargs = True
        if distillation is not None:
            self.loss_is_scaled_for_ga = True
        self.add_callback(self._clock)
        self._pruning_callback = None if pruning is None else PruningCallback(pruning)
        self._quantization_callback = None if quantization is None else QuantizationCallback(quantization)
        self.progress = Progress(self._pruning_callback, self._quantization_callback)
        self._best_model_callback = BestModelCallback(self.progress)
        if self.compression.edits_weights:
            for callback in (self._pruning_callback, self._quantization_callback, self._best_model_callback):
                if callback is not None:
                    self.add_callback(callback)
        self.add_callback(SidecarCallback())

    def _prepare_compression(self, model: nn.Module) -> None:
        """Teacher first (it copies the model as it is), then the modules."""
        if self.distillation is not None:
            self._distillation_step = DistillationStep(self.distillation, model, self)
        if self.pruning is not None:
            Masks(model, self.pruning)
            say_unmatched(model, self.pruning.ignore, "pruning")
        if self.quantization is not None:
            prepare(model, self.quantization, enabled=False)
            say_unmatched(model, self.quantization.ignore, "quantization")

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A fresh model from `model_init` is prepared like the first one."""
        model = super().call_model_init(trial)
        if self._ready:  # the one made while the Trainer is made is prepared with it
            self._prepare_compression(model)
            if self._own_loss is not None:
                self._own_loss = self._distillation_step or ExactTaskLoss(model)
        return model

    @property
    def frozen_copy(self) -> nn.Module | None:
        """The student as it was before compression, where a frozen copy of it is the teacher; else None."""
        return None if self._distillation_step is None else self._distillation_step.teacher.copied

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's; `resume_from_checkpoint=True` means the last checkpoint that every process wrote to its end.

        Raises:
            CompressionError: the model is finalized.
        """
        if self.model_init is None:
            refuse_finalized(self.model, done=self.finalized_model is not None and self.finalized_model is self.model)
        say_what_pushes_hold(self)
        if resume_from_checkpoint is True:
            resume_from_checkpoint = latest(self.args)
        if isinstance(resume_from_checkpoint, str):
            note_inexact(resume_from_checkpoint, self.args)
        self._resumes = isinstance(resume_from_checkpoint, str)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """None behind the last step, where a resumed Trainer would train one more; says what it cannot skip."""
        if self.state.global_step >= self.state.max_steps > 0:
            self.control.should_training_stop = True
            return [], None
        found = super().get_batch_samples(*args, **kwargs)
        if self._resumes and not found[0]:
            logger.warning(SHORT_STREAM, self.state.global_step)
        self._resumes = False
        if self._unread and found[0]:
            say_empty_start(found[1])
            self._unread = False
        return found

    def train_s(self) -> float | None:
        """Seconds of training so far, the parts before interruptions included; None where a checkpoint did not say."""
        return self._clock.seconds()

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates in 16 bits where that is asked for, and hands the student's own weights back afterwards."""
        casts = self.args.fp16_full_eval or self.args.bf16_full_eval
        with weights_kept(self.model) if casts and self.compression else contextlib.nullcontext():
            return super().evaluation_loop(*args, **kwargs)

    # Loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The Trainer's loss; in training, with distillation or where the head would return a mean, that of the mixin."""
        step = self._own_loss if self.model.training else None
        computed = None if step is None else step.loss(self, model, inputs, num_items_in_batch)
        if computed is not None:
            return computed if return_outputs else computed[0]
        if self._distillation_step is not None:
            self._distillation_step.token_metrics.catch_up(self)
        items = num_items_in_batch if self._head_takes_items else None
        if self.model.training and (self.compression or self._own_loss is not None):
            items = at_least_one(items)
        return super().compute_loss(model, inputs, return_outputs, items)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the two parts of the loss and the sparsity to the training logs."""
        if "loss" in logs:
            if self._distillation_step is not None:
                logs.update(self._distillation_step.logs(self))
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
        """True once the sparsity is final and quantization, if any, is on; never lost again."""
        return self.progress.is_complete

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """A model on the way is better and not what was asked for, so it never becomes the best.

        The Trainer is asked all the same, since it refuses a metric that does not exist.
        """
        before = self.state.best_metric, self.state.best_global_step
        found = bool(super()._determine_best_metric(metrics, trial))
        if self.progress.is_complete:
            return found
        self.state.best_metric, self.state.best_global_step = before
        return False

    def finalize(self, dtype: str = "auto") -> PreTrainedModel | nn.Module:
        """Check what training promised and hand back the compressed model.

        Args:
            dtype: the type everything that is not quantized will be stored in, e.g. "bfloat16"; "auto" leaves the weights.
                The cast comes before the scales are computed, so that both agree.

        Returns:
            The model: pruned weights are zero, quantized modules carry compressed-tensors' scheme and scales, ready for
            `export.save_compressed`; `save_model`, `push_to_hub` and the model's own `save_pretrained` write the same
            compressed checkpoint. Without quantization it is an ordinary model. It cannot be trained on.

        Raises:
            CompressionError: training stopped before the schedules ended, zeros are missing, a weight is NaN or does not
                fit `dtype`, or the model is finalized already; nothing is changed then.
        """
        return finalize_model(self, dtype)

    # Checkpoints

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Writes the sidecar next to the weights, so that rotation and resuming carry it (pushes: `SidecarCallback`)."""
        with left_out(self.args):  # hub_token
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir if output_dir is not None else self.args.output_dir)
            data = sidecar(self.model, self.state, self.compression)
            data |= {"processes": self.args.world_size, "train_s": self.train_s()}
            data |= self.progress.to_plain(self.model)
            (folder / SIDECAR).write_text(json.dumps(data, indent=2) + "\n")
            after_saving(self, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Restores every architecture, and refuses a checkpoint of another compression."""
        known = read_sidecar(resume_from_checkpoint)
        if known is not None:
            check_sidecar(known, resume_from_checkpoint, self.compression)
        self._clock.go_on_from((known or {}).get("train_s"))
        self.progress.go_on_from(known)
        self._best_model_callback.resumed = known
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        restore_weights(self.model if model is None else model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        """The best checkpoint is restored like any other."""
        super()._load_best_model()
        if self.state.best_model_checkpoint is not None:
            restore_weights(self.model, self.state.best_model_checkpoint)
