"""The contract of a runtime: what computes a checkpoint's forward pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress._registry import Strategy


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model, ready to run.

    Attributes:
        call: one forward pass of a batch, without gradients.
        model: what can `generate`; None where the runtime runs forward passes alone.
        anew: called before batches of another shape.
    """

    call: Callable[[Mapping[str, Tensor]], Any]
    model: Any = None
    anew: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Runtime(Strategy, kind="runtime", package="hf_compress.evaluation.cost.runtimes"):
    """What computes a forward pass.

    Attributes:
        takes_packed: it runs what compressed-tensors packed.
    """

    takes_packed: ClassVar[bool] = False

    def missing(self, device: torch.device) -> str:
        """Why it cannot run here, and what to install; empty where it can.

        Args:
            device: where to run.
        """
        return ""

    def prepare(self, model: Any, batch: Mapping[str, Tensor]) -> Prepared:
        """Make it run a model.

        Args:
            model: from `load_to_run`; it has run once.
            batch: one for it.

        Raises:
            CompressionError: it does not take the model.
        """
        raise TypeError(f"{type(self).__name__} defines no prepare()")
