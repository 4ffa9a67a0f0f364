"""Which model may be called the best: none before pruning and quantization are complete."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from hf_compress._errors import CompressionError
from hf_compress.training.progress import Progress
from hf_compress.training.sidecar import read_facts

logger = logging.getLogger(__name__)


def looks_for_best(args: Any) -> bool:
    """True where something depends on the best model: loading it, saving it, or early stopping, which needs a metric."""
    if args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST:
        return True
    by_metric = args.metric_for_best_model is not None and args.lr_scheduler_type != "reduce_lr_on_plateau"
    return by_metric and args.eval_strategy != IntervalStrategy.NO


def why_never_judged(args: Any, max_steps: int | None, num_epochs: float | None) -> str:
    """Why no evaluation can fall where the model is complete; empty where one does, or where nothing depends on it.

    The Trainer evaluates at the end of training in any case, where it evaluates at all, and schedules end by then; so only
    `eval_delay`, or no evaluation at all, can be in the way.

    Args:
        args: TrainingArguments.
        max_steps: optimizer steps, None where not known yet.
        num_epochs: passes over the data, None where not known yet.
    """
    if not looks_for_best(args):
        return ""
    if args.eval_strategy == IntervalStrategy.NO:
        return "eval_strategy is 'no'; set it to steps or epoch"
    last = max_steps if args.eval_strategy == IntervalStrategy.STEPS else num_epochs
    if last is not None and args.eval_delay > last:
        unit = "step" if args.eval_strategy == IntervalStrategy.STEPS else "epoch"
        return f"eval_delay={args.eval_delay:g} lies after the last {unit} ({last:g}); lower it"
    return ""


def check_evaluations(args: Any, max_steps: int | None, num_epochs: float | None) -> None:
    """Refuse a run that looks for its best model and can find none.

    Raises:
        CompressionError: with the reason of `why_never_judged`.
    """
    reason = why_never_judged(args, max_steps, num_epochs)
    if reason:
        raise CompressionError(
            "a best model is asked for (load_best_model_at_end, save_strategy 'best' or early stopping), and no evaluation"
            f" falls where pruning and quantization are complete: {reason}"
        )


@contextlib.contextmanager
def best_kept(state: TrainerState) -> Iterator[None]:
    """Whatever is judged meanwhile, the best model so far stays the best."""
    before = state.best_metric, state.best_global_step
    yield
    state.best_metric, state.best_global_step = before


class BestModelCallback(TrainerCallback):
    """Says at the start from when on a best model is known, and forgets one that was judged before it was compressed."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._resumed: Mapping[str, Any] | None = None

    def go_on_from(self, known: Mapping[str, Any] | None) -> None:
        """Take up a checkpoint when training begins; `known` is its sidecar, None for a plain Trainer's."""
        self._resumed = known

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Refuses a run that can find no best model."""
        check_evaluations(args, state.max_steps, state.num_train_epochs)
        self._forget(state)
        ready = self.progress.ready_step(state.max_steps)
        if self.progress.is_complete or not looks_for_best(args) or not state.is_world_process_zero:
            return
        nothing = ", and nothing is saved before" if args.save_strategy == SaveStrategy.BEST else ""
        logger.warning(
            "no best model is known before step %d of %d, where pruning and quantization are complete: earlier evaluations"
            " do not count, early stopping waits for it%s",
            max(ready, state.global_step + 1),
            state.max_steps,
            nothing,
        )

    def _forget(self, state: TrainerState) -> None:
        """A best model of a plain Trainer, or of one with other settings, is denser and would never be beaten."""
        known, self._resumed = self._resumed, None
        if state.best_metric is None:
            return
        if state.best_model_checkpoint is not None:
            known = read_facts(state.best_model_checkpoint)
        if not self.progress.was_complete(known):
            logger.warning(
                "forgot the best model so far (%s, metric %g): it was judged before it was compressed",
                state.best_model_checkpoint,
                state.best_metric,
            )
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None
