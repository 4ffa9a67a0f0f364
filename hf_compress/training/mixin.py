"""Compression inside any transformers Trainer."""

import contextlib
import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_compress._modules.kept_weights import weights_kept
from hf_compress._once import saying_once
from hf_compress._secrets import left_out
from hf_compress.calibration.configuration import Calibration
from hf_compress.distillation.configuration import Distillation
from hf_compress.pruning.configuration import Pruning
from hf_compress.quantization.configuration import Quantization
from hf_compress.training.agreement import begin_together
from hf_compress.training.base_zeros import restore_base
from hf_compress.training.best_model import BestModelCallback, best_kept
from hf_compress.training.calibrated import statistics_of_trainer
from hf_compress.training.checkpoints import SHORT_STREAM
from hf_compress.training.clock import TrainingClock
from hf_compress.training.compatibility import check_arguments, check_compatibility
from hf_compress.training.compression import Compression
from hf_compress.training.finalize import after_saving, finalize_model, refuse_finalized
from hf_compress.training.loading import alike, loaded_in_first, ready_to_shard
from hf_compress.training.own_loss import OwnLoss
from hf_compress.training.prepare import prepare_model
from hf_compress.training.progress import Progress
from hf_compress.training.projected import TrainsProjections
from hf_compress.training.pushing import PushesWhole
from hf_compress.training.restore import restore_weights
from hf_compress.training.sharded_run import RunsSharded
from hf_compress.training.sidecar import go_on_from, write_sidecar

logger = logging.getLogger(__name__)


class CompressionMixin(TrainsProjections, RunsSharded, PushesWhole):
    """Adds pruning, quantization-aware training and distillation to the Trainer class it is mixed into.

    Args:
        pruning: gradual pruning, or None.
        quantization: quantization-aware training, or None.
        distillation: a teacher and losses, or None.
        calibration: which training examples a criterion's statistics are collected on; needed where it needs some.
        exact_task_loss: compute the task loss from logits and labels where the head ignores how many items the accumulated
            batch has; None = with pruning or quantization. Distillation always does.
        *args, **kwargs: the Trainer's own arguments.

    Raises:
        CompressionError: targets that match nothing, what does not go together or fit, a criterion without calibration.
    """

    gather_function: Any

    def __init__(
        self,
        *args: Any,
        pruning: Pruning | None = None,
        quantization: Quantization | None = None,
        distillation: Distillation | None = None,
        calibration: Calibration | None = None,
        exact_task_loss: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.compression = Compression(
            pruning=pruning, quantization=quantization, distillation=distillation, calibration=calibration
        )
        self.pruning, self.quantization, self.distillation = pruning, quantization, distillation
        self.finalized_model: nn.Module | None = None
        self.finalized_dtype = "auto"
        self._own_loss: Any = None
        self._resumes = False
        self.said: set[str] = set()
        refuse_finalized(kwargs.get("model", args[0] if args else None), done=False)
        if self.compression:
            check_arguments(kwargs["args"] if "args" in kwargs else next(iter(args[1:2]), None))
        super().__init__(*args, **kwargs)
        self.loaded_in_first = loaded_in_first(self)
        check_compatibility(self, self.compression)
        self._own_loss = OwnLoss(self, alike(self, lambda: prepare_model(self, self.model)), exact_task_loss)
        self._clock, self.progress = TrainingClock(), Progress.of(self.compression, statistics_of_trainer(self))
        self._best_model = BestModelCallback(self.progress)
        of_techniques = [*self.progress.callbacks, self._best_model] if self.compression.edits_weights else []
        for callback in (self._clock, *of_techniques):
            self.add_callback(callback)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """A fresh model from `model_init` is prepared like the first one."""
        model = super().call_model_init(trial)
        if self._own_loss is not None:  # the one made while the Trainer is made is prepared with it
            self._own_loss.follow(prepare_model(self, model), model)
        return model

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's; `resume_from_checkpoint=True` means the last checkpoint that every process wrote to its end.

        Raises:
            CompressionError: the model is finalized, the checkpoint is not whole, or the processes are not of one run.
        """
        resume_from_checkpoint = begin_together(self, resume_from_checkpoint)
        self._resumes = isinstance(resume_from_checkpoint, str)
        if isinstance(resume_from_checkpoint, str):
            go_on_from(self, resume_from_checkpoint)
        ready_to_shard(self)
        with saying_once(self.said):
            return super().train(resume_from_checkpoint, *args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """None behind the last step, where a resumed Trainer would train one more; says what it cannot skip."""
        if self.state.global_step >= self.state.max_steps > 0:
            self.control.should_training_stop = True
            return [], None
        batches, counted = super().get_batch_samples(*args, **kwargs)
        if self._resumes and not batches:
            logger.warning(SHORT_STREAM, self.state.global_step)
        self._resumes = False
        return batches, self._own_loss.num_items(self, batches, counted)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluates in 16 bits where that is asked for, and hands the student's own weights back afterwards."""
        if self.gather_function == self.accelerator.gather:
            # A Seq2SeqTrainer's choice, which counts the rows that pad the last batch of several processes.
            self.gather_function = self.accelerator.gather_for_metrics
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
        computed = self._own_loss.compute(self, model, inputs, num_items_in_batch)
        if computed is not None:
            return computed if return_outputs else computed[0]
        items = self._own_loss.items_for_head(self, num_items_in_batch)
        return super().compute_loss(model, inputs, return_outputs, items)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Adds the two parts of the loss and the sparsity to the training logs."""
        if "loss" in logs:
            logs.update(self._own_loss.logs(self) | self.progress.logs())
        super().log(logs, *args, **kwargs)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Pruned weights hold a share of the gradient norm equal to the sparsity; they must not count in clipping."""
        if self.progress.masks is not None:
            self.progress.masks.apply_to_gradients()
        return super()._clip_grad_norm(model)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """A model on the way never becomes the best; the Trainer is asked all the same, as it refuses an unknown metric."""
        with contextlib.nullcontext() if self.progress.is_complete else best_kept(self.state):
            found = bool(super()._determine_best_metric(metrics, trial))
        return found and self.progress.is_complete

    # Checkpoints

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Writes the sidecar next to the weights, so that rotation, resuming and pushes carry it."""
        with left_out(self.args):  # hub_token
            super()._save(output_dir, state_dict)
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        write_sidecar(self, folder)
        if self.args.should_save:
            after_saving(self, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Restores every architecture."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        restore_weights(self.model if model is None else model, resume_from_checkpoint)
        restore_base(self, self.model if model is None else model, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        """The best checkpoint is restored like any other."""
        super()._load_best_model()
        if self.state.best_model_checkpoint is not None:
            restore_weights(self.model, self.state.best_model_checkpoint)

    def finalize(self, dtype: str = "auto") -> PreTrainedModel | nn.Module:
        """Check what training promised and hand back the compressed model.

        Args:
            dtype: the type everything that is not quantized will be stored in, e.g. "bfloat16"; "auto" leaves the weights.
                The cast comes before the scales are computed, so that both agree.

        Returns:
            The model: pruned weights are zero, quantized modules carry compressed-tensors' scheme and scales, ready for
            `export.save_compressed`; `save_model`, `push_to_hub` and the model's own `save_pretrained` write the same
            compressed checkpoint. Without quantization it is an ordinary model; LoRA adapters above a pruned base are
            merged into it, and its zeros kept. It cannot be trained on.

        Raises:
            CompressionError: training stopped before the schedules ended, zeros are missing, a weight is NaN or does not
                fit `dtype`, or the model is finalized already; nothing is changed then.
        """
        return finalize_model(self, dtype)

    def compression_is_complete(self) -> bool:
        """True once the sparsity is final and quantization, if any, is on; never lost again."""
        return self.progress.is_complete

    def train_s(self) -> float | None:
        """Seconds of training so far, the parts before interruptions included; None where a checkpoint did not say."""
        return self._clock.seconds()

    @property
    def frozen_copy(self) -> nn.Module | None:
        """The student as it was before compression, where a frozen copy of it is the teacher; else None."""
        step = self._own_loss.distillation
        return None if step is None else step.teacher.copied
