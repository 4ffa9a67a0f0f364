"""Everything that happens at a step: masks move, fake quantization begins."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_compress._modules.coverage import coverage
from hf_compress._modules.ignored import say_left_out
from hf_compress._units import resolve_point
from hf_compress.pruning.allocations.uniform import Uniform
from hf_compress.pruning.compute import check_cut
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.fit import check_statistics
from hf_compress.pruning.kept_zeros import announce_kept
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.statistics import Stats
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import is_enabled, set_enabled
from hf_compress.quantization.reach import announce
from hf_compress.training.accumulated import Accumulated
from hf_compress.training.bypassed import BypassWatch
from hf_compress.training.calibrated import Statistics, no_statistics
from hf_compress.training.free_zeros import read_free_zeros
from hf_compress.training.standing_zeros import StandingZeros

logger = logging.getLogger(__name__)


class PruningCallback(TrainerCallback):
    """Keeps pruned weights at zero and lets the sparsity follow the schedule, upwards only.

    A criterion that needs statistics gets them anew whenever masks move, from the weights as they are then, so that nothing
    is stored and a resumed run has the same.

    Works right after `optimizer.step()`, so every forward pass and every checkpoint sees exact zeros. The sparsity is a
    function of the step; the masks begin with the zeros that are there, and after a resume they are read back from them.

    Attributes:
        masks: those of the model in training; None before the first training.
        reached: the masks have the final sparsity, which they never lose.
    """

    def __init__(self, pruning: Pruning, statistics: Statistics = no_statistics) -> None:
        self.pruning = pruning
        self._statistics = statistics
        self.accumulated = Accumulated(pruning.criterion)
        self._goes_on = False
        self.masks: Masks | None = None
        self.reached = False
        self._held = 0
        self._standing = StandingZeros(None)
        self._known: Mapping[str, Any] | None = None
        self._followed: list[RemovableHandle] = []
        self._sparsity = 0.0
        """The schedule's value that the masks were computed for."""

    def go_on_from(self, known: Mapping[str, Any] | None, reached: bool) -> None:
        """Take up a checkpoint when training begins.

        Args:
            known: its sidecar, None for a plain Trainer's.
            reached: the sidecar says that the sparsity is final.
        """
        self._known, self.reached = known, reached
        self._held = int(((known or {}).get("progress") or {}).get("held") or 0)
        self._goes_on = True

    @property
    def held(self) -> int:
        """How many weights masks hold at zero; of a model that has not trained here, as its checkpoint says."""
        return self._held if self.masks is None else self.masks.num_pruned()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.pruning.schedule.check(state.max_steps)
        known, self._known = self._known or {}, None
        model: nn.Module = kwargs["model"]
        self.masks = Masks(model, self.pruning)
        self._standing = StandingZeros(model)
        if not self._goes_on:
            self.accumulated = Accumulated(self.pruning.criterion)
        self._goes_on = False
        self.accumulated.check(self.masks.modules)
        self._stop_following()
        self._followed = self.masks.follow_gradients()
        check_statistics(self.masks.modules, self.pruning, self._stats(model))
        check_cut(self.masks.modules, self.pruning)
        free = (known.get("progress") or {}).get("free_zeros")
        if free is None:  # the beginning, or a checkpoint that no masks were kept for
            self.masks.hold_zeros()
        else:
            self.masks.read_zeros(read_free_zeros(free))
        held = self.masks.num_pruned()
        if self.pruning.keeps_zeros:
            announce_kept(model, self.masks.modules, self.masks.keep, self.pruning.ignore, self.masks.left_out)
        asked = self.pruning.amount(state.global_step, state.max_steps) if state.global_step else 0.0
        behind = held < self.masks.fewest_zeros(asked)
        same_run = free is not None and known.get("max_steps") == state.max_steps and not behind
        self._sparsity = asked if same_run else 0.0  # otherwise the next step brings the masks to the schedule
        self.reached = self.reached and held >= self.masks.fewest_zeros(self.pruning.final)
        if state.is_world_process_zero:
            _announce(self.masks, model, held, None if same_run else state.global_step, asked if behind else None)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._stop_following()

    def _stats(self, model: nn.Module) -> Stats:
        """What scores are made of, as things are now."""
        assert self.masks is not None
        return self.accumulated.beside(self._statistics(model, self.masks.modules), self.masks.modules)

    def _stop_following(self) -> None:
        """Also what a training that was broken off has left."""
        while self._followed:
            self._followed.pop().remove()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.masks is None:
            return
        if args.max_grad_norm <= 0:  # otherwise done before clipping
            self.masks.apply_to_gradients()
        self.accumulated.add(self.masks.modules)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.masks is None:
            return
        # The hook runs before the count moves on, so this step is number global_step + 1.
        step = state.global_step + 1
        sparsity = self.pruning.amount(step, state.max_steps)
        if sparsity != self._sparsity:
            self.masks.update(sparsity, self._stats(kwargs["model"]))
            if self.pruning.target is None:
                _say_measured(self.masks, step, state.is_world_process_zero)
        self._standing.hold(self.masks, kwargs["optimizer"], moved=sparsity != self._sparsity)
        self._sparsity = sparsity
        self.reached = self.reached or step >= resolve_point(self.pruning.schedule.end, state.max_steps)


def _say_measured(masks: Masks, step: int, speaks: bool) -> None:
    """A line about the sparsity that a criterion's cut has made; every process must call it."""
    held = masks.num_pruned()
    if speaks:
        criterion = masks.pruning.criterion
        logger.info("step %d: %s prunes to sparsity %.4f", step, criterion.name, held / masks.num_weights())


def _announce(masks: Masks, model: nn.Module, held: int, step: int | None, asked: float | None) -> None:
    """Say what pruning covers, what it leaves out, and how it takes up what is there.

    Args:
        masks: as training begins with them.
        model: the whole of it.
        held: zeros that are kept.
        step: of a model that this run did not bring so far itself; None where it did.
        asked: the schedule's sparsity at this step, where the model has less.
    """
    total, final = masks.num_weights(), masks.pruning.final
    logger.info("pruning %s", coverage(model, masks.modules).sentence("covers"))
    say_left_out(masks.left_out, "pruning")
    possible = masks.fewest_zeros(final) / total
    measured = masks.pruning.target is None
    if not measured and isinstance(masks.pruning.allocation, Uniform) and abs(final - possible) > 1e-3:
        logger.warning("sparsity %.4f is the nearest to %g that layers of these sizes can have", possible, final)
    if asked is not None:
        logger.warning(
            "the model of step %s has sparsity %.4f and the schedule asks for %.4f there (it was trained without this"
            " pruning, or for more steps); the next step prunes it",
            step,
            held / total,
            asked,
        )
    elif step is not None and held:
        logger.info("kept the %d zeros that are there: sparsity %.4f", held, held / total)
    if not masks.pruning.keeps_zeros and held / total > final + 1e-3:
        logger.warning("the model has sparsity %.4f already and keeps it; the schedule ends at %g", held / total, final)


class QuantizationCallback(TrainerCallback):
    """Switches fake quantization on at its point of the schedule, and never off again.

    When training begins it says how much of the model is quantized; the first step shows what is passed by.

    Attributes:
        reached: fake quantization is on, and this run or the one it goes on from has trained a step up to there.
    """

    def __init__(self, quantization: Quantization) -> None:
        self.quantization = quantization
        self.reached = False
        self._resumed: bool | None = None
        self._watch = BypassWatch(quantization)

    def go_on_from(self, on: bool | None) -> None:
        """Take up a checkpoint when training begins.

        Args:
            on: its sidecar says that fake quantization was on; None without a sidecar.
        """
        self._resumed, self.reached = on, on is True

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.quantization.check(state.max_steps)
        model: nn.Module = kwargs["model"]
        on = is_enabled(model) if self._resumed is None else self._resumed
        self._resumed = None
        self.reached = on
        set_enabled(model, on or self._is_time(state))
        announce(model)
        if not args.torch_compile:  # the watch would break the graph
            self._watch.begin(model)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._watch.end()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not self.reached and self._is_time(state):
            set_enabled(kwargs["model"], True)
            self.reached = True

    def _is_time(self, state: TrainerState) -> bool:
        return state.global_step >= resolve_point(self.quantization.begin, state.max_steps)
