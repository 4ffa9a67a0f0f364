"""Everything that happens at a step: masks move, fake quantization begins."""

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_compress._units import resolve_point
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import set_enabled


class PruningCallback(TrainerCallback):
    """Keeps pruned weights at zero and lets the sparsity follow the schedule.

    Works right after `optimizer.step()`, so every forward pass and every checkpoint sees exact zeros. Needs no state of its
    own: the sparsity is a function of the step, and after a resume the masks are read back from the zeros.
    """

    def __init__(self, pruning: Pruning) -> None:
        self.pruning = pruning
        self.masks: Masks | None = None
        self._sparsity = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.pruning.schedule.check(state.max_steps)
        self.masks = Masks(kwargs["model"], self.pruning)
        self._sparsity = self.pruning.schedule.sparsity(state.global_step, state.max_steps) if state.global_step else 0.0
        if self._sparsity > 0:
            self.masks.read_zeros()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.masks is not None and args.max_grad_norm <= 0:  # otherwise done before clipping
            self.masks.apply_to_gradients()

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.masks is None:
            return
        # The hook runs before the count moves on, so this step is number global_step + 1.
        sparsity = self.pruning.schedule.sparsity(state.global_step + 1, state.max_steps)
        if sparsity != self._sparsity:
            self.masks.update(sparsity)
            self._sparsity = sparsity
            optimizer: torch.optim.Optimizer = kwargs["optimizer"]
            self.masks.apply_to_optimizer(optimizer)
        self.masks.apply()


class QuantizationCallback(TrainerCallback):
    """Switches fake quantization on at its point of the schedule."""

    def __init__(self, quantization: Quantization) -> None:
        self.quantization = quantization

    def _switch(self, state: TrainerState, model: torch.nn.Module) -> None:
        set_enabled(model, state.global_step >= resolve_point(self.quantization.begin, state.max_steps))

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.quantization.check(state.max_steps)
        self._switch(state, kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._switch(state, kwargs["model"])
