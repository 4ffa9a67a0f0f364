"""The trained parts of losses, e.g. a Linear from the student's width to the teacher's: they belong to no model."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._random import random_states_kept
from hf_compress.distillation.answers import check_inside
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.loss import FeatureLoss

FILE = "projections.safetensors"
"""In a checkpoint, beside the model's weights."""


class Projections(Mapping[int, nn.Module]):
    """What the losses of a distillation built, by their place in `losses`; empty where they build nothing.

    Args:
        distillation: whose losses.
        student: its config.
        seed: of the random numbers they begin with; those of the run stay as they are.

    Raises:
        CompressionError: a loss does not fit these models, or its part has state that training would not share.
    """

    def __init__(self, distillation: Distillation, student: Any, seed: int) -> None:
        self.modules = nn.ModuleDict()
        self._stale = True
        losses = (term.loss for term in distillation.losses)
        inside = {place: loss for place, loss in enumerate(losses) if isinstance(loss, FeatureLoss)}
        teacher = distillation.teacher.config(student) if inside else None
        with random_states_kept():
            torch.manual_seed(seed)
            for place, loss in inside.items():
                built = loss.build(student, teacher)
                if built is not None:
                    _refuse_buffers(built, loss)
                    self.modules[str(place)] = built

    def __getitem__(self, place: int) -> nn.Module:
        try:
            return self.modules[str(place)]
        except KeyError:
            raise KeyError(place) from None

    def __iter__(self) -> Iterator[int]:
        return (int(place) for place in self.modules)

    def __len__(self) -> int:
        return len(self.modules)

    def begin(self) -> None:
        """Before a micro-batch: after an optimizer step the gradients begin anew."""
        if self._stale:
            self.modules.zero_grad()
            self._stale = False

    def end(self) -> None:
        """After the last micro-batch of a step: gradients become the mean over the processes, as DDP's do."""
        self._stale = True
        processes = _distributed.world_size()
        if processes == 1:
            return
        for parameter in self.modules.parameters():
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
                parameter.grad /= processes

    def save(self, folder: Path) -> None:
        """Into a checkpoint."""
        save_model(self.modules, str(folder / FILE), metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """From a checkpoint, in place.

        Raises:
            CompressionError: it has none, or those of other losses.
        """
        file = folder / FILE
        if not file.is_file():
            raise CompressionError(
                f"{folder} has no {FILE}, which this run's losses trained; resume from a checkpoint of this run"
            )
        try:
            load_model(self.modules, file)
        except (RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise CompressionError(
                f"{file} does not hold what this run's losses train ({reason}); resume from a checkpoint of this run"
            ) from error


def _refuse_buffers(built: nn.Module, loss: FeatureLoss) -> None:
    """Running statistics would differ from process to process."""
    kept = built.state_dict().keys() - dict(built.named_parameters(remove_duplicate=False)).keys()
    if kept:
        raise CompressionError(
            f"{loss.name} builds a module with the buffer {min(kept)}, which processes would not share; build it from"
            " layers without running statistics, such as Linear and LayerNorm"
        )


def check_projections(distillation: Distillation, student: Any) -> None:
    """Whether losses on what happens inside the models fit both, with nothing in memory.

    Args:
        distillation: with a teacher that was found to be there.
        student: its config.

    Raises:
        CompressionError: as the constructor above.
    """
    check_inside(student, distillation.needs, f"the student ({student.model_type})")
    with torch.device("meta"):
        Projections(distillation, student, seed=0)
