"""The contract of a teacher."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hf_compress._registry import Strategy
from hf_compress.distillation.signal import Need, Signal
from hf_compress.tasks.task import Task

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Teacher(Strategy, kind="teacher", package="hf_compress.distillation.teachers"):
    """Where the signal comes from. The configuration is a value; `load` makes the thing that answers.

    Attributes:
        gives: what it can answer with; losses that need more are refused.
        shard: whether its weights are sharded where the student's are: "like_student", "never", or "auto", where that
            depends on the device's memory.
    """

    gives: ClassVar[tuple[Need, ...]] = ("logits",)
    shard: str = "never"

    def sources(self) -> dict[str, str]:
        """Which checkpoints it opens; a recipe's check tries each, also where the rest of the recipe is wrong.

        Returns:
            The field, as dotted keys below the teacher's own ("model", "models.0") -> a folder or Hub id.
        """
        return {}

    def check(self, student: "PretrainedConfig", tokenizer: Any, task: Task, key: str) -> None:
        """Refuse what cannot teach a student, before any weights are in memory.

        Args:
            student: the student's config, as the task and the data want it.
            tokenizer: the student's; None where the task reads no text, or where it is not known yet.
            task: what both do.
            key: the teacher's own in the recipe, for refusals: f"{key}.model: ...".

        Raises:
            CompressionError: a source is not there, or cannot teach this student.
        """

    def config(self, student: "PretrainedConfig") -> "PretrainedConfig | None":
        """That of the model whose hidden states and attention maps it gives; None where it gives none.

        Args:
            student: the student's.

        Raises:
            CompressionError: it cannot be read.
        """
        return None

    def num_bytes(self, student: nn.Module, task: Task) -> int | None:
        """Of the weights that every process holds for it; None where only loading tells.

        Args:
            student: without memory is enough.
            task: what both do.

        Raises:
            CompressionError: a source cannot be read.
        """
        return None

    def load(
        self, student: nn.Module, device: torch.device, tokenizer: Any = None, needs: tuple[Need, ...] = ("logits",)
    ) -> "LoadedTeacher":
        """Ready to answer, frozen, on `device`; refused where it cannot teach `student`.

        Args:
            student: the model before any compression; a teacher may copy it, never change it.
            device: where the student is, and the first batches will be.
            tokenizer: the student's, where it is known; the teacher's must give the same ids.
            needs: what its signals hold, each of `gives`.

        Raises:
            CompressionError: the vocabularies or label sets differ.
        """
        raise TypeError(f"{type(self).__name__} defines no load()")


class LoadedTeacher:
    """A teacher at work. It is no submodule of the student and never reaches a state dict, optimizer or checkpoint.

    Attributes:
        copied: the student as it was before compression, where that is who answers; runs are compared with it.
    """

    copied: nn.Module | None = None

    def settle(self, student: nn.Module, device: torch.device) -> None:
        """Before the first training step: the student is laid out as it trains, perhaps in shards over several processes.

        Args:
            student: as the Trainer trains it.
            device: where batches will be from now on.
        """

    def signal(self, inputs: Mapping[str, Any]) -> Signal:
        """The answer to one batch; `inputs` are the student's, without labels."""
        raise TypeError(f"{type(self).__name__} defines no signal()")
