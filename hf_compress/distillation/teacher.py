"""The contract of a teacher."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hf_compress._registry import Strategy
from hf_compress.distillation.signal import Signal


class Teacher(Strategy, kind="teacher", package="hf_compress.distillation.teachers"):
    """Where the signal comes from. The configuration is a value; `load` makes the thing that answers."""

    def load(self, student: nn.Module, device: torch.device, tokenizer: Any = None) -> "LoadedTeacher":
        """Ready to answer, frozen, on `device`; refused where it cannot teach `student`.

        Args:
            student: the model before any compression; a teacher may copy it, never change it.
            device: where batches will be.
            tokenizer: the student's, where it is known; the teacher's must give the same ids.

        Raises:
            CompressionError: the vocabularies or label sets differ.
        """
        raise TypeError(f"{type(self).__name__} defines no load()")


class LoadedTeacher:
    """A teacher at work. It is no submodule of the student and never reaches a state dict, optimizer or checkpoint."""

    def signal(self, inputs: Mapping[str, Any]) -> Signal:
        """The answer to one batch; `inputs` are the student's, without labels."""
        raise TypeError(f"{type(self).__name__} defines no signal()")
