"""What every average does at the hooks of a Trainer: points, evaluation, checkpoints, resume."""

import copy
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._sharding.contract import check_supported, is_sharded
from hf_compress._units import Point
from hf_compress.training.averaging.average import Average
from hf_compress.training.averaging.checkpoint import FOLDER
from hf_compress.training.averaging.evaluation import EvaluationSwap
from hf_compress.training.averaging.place import Place
from hf_compress.training.averaging.points import Points, check_points

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class AveragingCallback(TrainerCallback):
    """An average of the weights over the points `begin`, `begin + every`, ... of a run.

    Training is not touched: a run ends with the same bits with and without it. Works in one process, under DDP and under
    FSDP2. Every checkpoint from `begin` on holds `averaged/<name>/`, an ordinary checkpoint of the averaged model, and the
    end of training writes it to `<output_dir>/averaged/<name>/`; with `load_best_model_at_end` that is the average that
    belongs to the best checkpoint.

    Attributes:
        begin: the first point; a step, or a share of all steps.
        every: steps between points, or a share of all steps (rounded, at least one).
        name: of the folder, where several averages are taken.
        evaluate_with_average: evaluations during training see the average; of all averages, one may.
        average_buffers: average floating-point buffers too (BatchNorm's statistics); otherwise they are the model's.
        keep_zeros: where a weight is exactly 0, so is the average that is evaluated and written. The average of weights
            under growing masks is not sparse; this makes it as sparse as the model.
        device: where the average is kept, e.g. "cpu"; None = beside the weights.
    """

    begin: Point = "0%"
    every: Point = 1
    name: str
    evaluate_with_average: bool = False
    average_buffers: bool = False
    keep_zeros: bool = True
    device: str | None = None

    average: Average = field(init=False, repr=False)
    _points: Points = field(init=False, repr=False)
    _place: Place = field(init=False, repr=False)
    _swap: EvaluationSwap = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_points(self.begin, self.every)
        if not self.name or self.name.startswith("_") or self.name == ".." or Path(self.name).name != self.name:
            raise CompressionError(f"name={self.name!r} is not a folder name; write one like 'ema'")
        if self.device is not None:
            try:
                torch.device(self.device)
            except RuntimeError as error:
                raise CompressionError(
                    f"device={self.device!r} is not a device; write one like 'cpu' or 'cuda:0'"
                ) from error
        self._reset()

    def _reset(self) -> None:
        self.average = Average(buffers=self.average_buffers, keep_zeros=self.keep_zeros, device=self.device)
        self._swap = EvaluationSwap(self.average)

    # The formula, by subclasses

    def move(self, averages: list[Tensor], currents: list[Tensor], num_points: int) -> None:
        """Move the averages, in place, when `num_points` points are in them already."""
        raise TypeError(f"{type(self).__name__} defines no move()")

    def formula(self) -> dict[str, Any]:
        """What the numbers depend on beside the points."""
        raise TypeError(f"{type(self).__name__} defines no formula()")

    # For users

    @contextmanager
    def averaged_weights(self, model: nn.Module) -> Iterator[None]:
        """The model holds the average inside the `with` block and its own weights after it, also after an exception.

        Args:
            model: `trainer.model`.

        Raises:
            CompressionError: there is no average yet.
        """
        self._check_begun()
        with self.average.inside(model):
            yield

    def averaged_model(self, model: nn.Module) -> nn.Module:
        """A copy of `model` with the averaged weights, in the model's own types.

        Raises:
            CompressionError: there is no average yet, or the model is sharded.
        """
        if is_sharded(model):
            raise CompressionError(
                f"a sharded model cannot be copied; load {FOLDER}/{self.name} of the output folder with from_pretrained, or"
                " use averaged_weights()"
            )
        with self.averaged_weights(model):
            return copy.deepcopy(model)

    def _check_begun(self) -> None:
        if self.average.num_points == 0:
            raise CompressionError(f"{self.name} has no point yet; it begins at {self.begin!r} of a training run")

    # Hooks

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start anew, or go on where the checkpoint left off."""
        model: nn.Module = kwargs["model"]
        self._swap.disarm()
        check_supported(model, "weight averaging")
        self._check_run(args, state)
        self._points = Points.resolve(self.begin, self.every, state.max_steps, self.name)
        self._place = Place(self.name, args, {**self.formula(), **self._points.settings(), "buffers": self.average_buffers})
        self._reset()
        step = state.global_step
        if step > 0 and step >= self._points.begin:
            found = self._place.read(self.average, model, step, state.is_world_process_zero)
            if not found and step > self._points.begin:
                raise CompressionError(
                    f"{self.name}: the run resumes at step {step}, and neither {self._place.checkpoint(step)} nor"
                    " args.resume_from_checkpoint holds this average; name the checkpoint's folder in"
                    f" TrainingArguments.resume_from_checkpoint, or set begin={step} to start the average here"
                )
        if self.average.num_points == 0 and self._points.has(step):
            self._take(model)
        _distributed.barrier()  # the first process clears away what others may still be reading
        self._place.settle(step)
        if self.evaluate_with_average and args.eval_on_start and self.average.num_points:
            self._swap.arm(model)

    def _check_run(self, args: TrainingArguments, state: TrainerState) -> None:
        if getattr(args, "deepspeed_plugin", None) is not None:
            raise CompressionError(
                f"{self.name}: weight averaging under DeepSpeed is not supported, because it trains copies of the weights;"
                " train with DDP or FSDP2"
            )
        if state.is_hyper_param_search:
            raise CompressionError(
                f"{self.name}: weight averaging in a hyper-parameter search is not supported, because a callback is not"
                " told the trial's folder; search first, then train with the average"
            )
        # The run's own state is the one object that all its callbacks share and no other run does.
        taken: dict[str, AveragingCallback] = vars(state).setdefault("_averages", {})
        if taken.setdefault(self.name, self) is not self:
            raise CompressionError(f"two averages are named {self.name!r}; give one another name")
        if sum(other.evaluate_with_average for other in taken.values()) > 1:
            raise CompressionError(
                f"{sorted(taken)} all have evaluate_with_average, and an evaluation sees one average; leave it on for one"
            )

    def _take(self, model: nn.Module) -> None:
        self.average.add(model, functools.partial(self.move, num_points=self.average.num_points))

    def _after_step(self, args: TrainingArguments, control: TrainerControl, step: int, kwargs: dict[str, Any]) -> None:
        """Written before the Trainer saves, so that a checkpoint that looks whole has its average."""
        if self.average.num_points == 0:
            return
        if control.should_save:
            self._place.stage(self.average, kwargs["model"], step, kwargs.get("processing_class"))
        if control.should_evaluate and self.evaluate_with_average:
            self._swap.arm(kwargs["model"])

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """An evaluation is over, however it ended."""
        self._swap.disarm()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Masks have been applied and the step counted."""
        self._swap.disarm()
        if self._points.has(state.global_step):
            self._take(kwargs["model"])
        self._after_step(args, control, state.global_step, kwargs)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Epochs save and evaluate after the last step has done so."""
        self._swap.disarm()
        self._after_step(args, control, state.global_step, kwargs)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """One data set is through; another may follow."""
        self.average.leave()

    def on_push_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The checkpoint is about to be uploaded; only the first process is asked."""
        if self.average.num_points:
            self._place.deliver(state.global_step)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The checkpoint is there."""
        self._swap.disarm()
        if self.average.num_points == 0:
            return
        if self._place.staged != state.global_step:  # nobody knew before: save_strategy "best", a later callback
            self._place.stage(self.average, kwargs["model"], state.global_step, kwargs.get("processing_class"))
        self._place.deliver(state.global_step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the average that belongs to the model that training returns."""
        self._swap.disarm()
        model, best = kwargs["model"], state.best_model_checkpoint
        if args.load_best_model_at_end and best is not None:
            self._reset()
            if not self._place.read_from(self.average, model, Path(best)):
                logger.warning("%s: the best checkpoint, %s, is older than the average; none is written", self.name, best)
        if self.average.num_points:
            self._place.write_final(self.average, model, kwargs.get("processing_class"))
        _distributed.barrier()
        self._place.clear()
