"""Evaluations that see an average."""

from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from hf_compress.training.averaging.average import Average


class EvaluationSwap:
    """Puts an average into the model for the forward passes of an evaluation.

    A Trainer calls nobody before it evaluates, so the exchange waits for the first forward pass in evaluation mode after
    `arm`. The caller ends it (`average.leave`, `disarm`). If the evaluation raises, nobody is called at all: then the
    weights come back at the next forward pass in training mode, or when the model is asked for its state dict, so the
    average is never trained and never saved as the model.
    """

    def __init__(self, average: Average) -> None:
        self.average = average
        self._handles: list[RemovableHandle] = []

    def arm(self, model: nn.Module) -> None:
        """Exchange at the next forward pass in evaluation mode."""
        self.disarm()
        # Before FSDP2's own hook, which gathers the outermost weights.
        self._handles = [
            model.register_forward_pre_hook(self._before_forward, prepend=True),
            model.register_state_dict_pre_hook(self._before_state_dict),
        ]

    def _before_forward(self, model: nn.Module, inputs: Any) -> None:
        if model.training:
            self.disarm()
        else:
            self.average.enter(model)

    def _before_state_dict(self, model: nn.Module, prefix: str, keep_vars: bool) -> None:
        self.average.leave()

    def disarm(self) -> None:
        """The model's own weights, and no hooks."""
        self.average.leave()
        for handle in self._handles:
            handle.remove()
        self._handles = []
