"""The distillation job as a value."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds, describe
from hf_compress.distillation.loss import DistillationLoss
from hf_compress.distillation.losses.forward_kl import ForwardKL
from hf_compress.distillation.signal import NEEDS, Need
from hf_compress.distillation.teacher import Teacher
from hf_compress.distillation.teachers.model import ModelTeacher


@dataclass(frozen=True, kw_only=True)
class WeightedLoss(metaclass=CheckedKinds):
    """One term of the objective.

    Attributes:
        weight: its factor, > 0.
        loss: what it compares.
    """

    weight: float
    loss: DistillationLoss = field(default_factory=ForwardKL)

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise CompressionError(f"weight={self.weight!r} must be above 0; leave the loss out instead")


@dataclass(frozen=True, kw_only=True)
class Distillation(metaclass=CheckedKinds):
    """Who teaches, by which losses, next to how much of the task's own loss.

    loss = (task_weight * sum of task losses + sum_i weight_i * sum of distillation losses_i) / items in the batch

    Attributes:
        teacher: by default a frozen copy of the student as it is before compression.
        losses: weighted terms; pairs (weight, loss) are accepted.
        task_weight: factor of the task loss; None means 1 minus the sum of the weights.
    """

    _takes: ClassVar[dict[str, Any]] = {"losses": tuple[WeightedLoss | tuple, ...]}

    teacher: Teacher = field(default_factory=ModelTeacher)
    losses: tuple[WeightedLoss, ...] = (WeightedLoss(weight=0.5),)
    task_weight: float | None = None

    def __post_init__(self) -> None:
        terms = [term if isinstance(term, WeightedLoss) else _weighted(term) for term in self.losses]
        object.__setattr__(self, "losses", tuple(terms))
        if not terms:
            raise CompressionError("distillation.losses is empty; name at least one, or leave distillation out")
        for term in terms:
            lacking = [need for need in term.loss.needs if need not in self.teacher.gives]
            if lacking:
                raise CompressionError(
                    f"{term.loss.name} needs {lacking[0]} of the teacher, and teacher {self.teacher.name!r} gives"
                    f" {', '.join(self.teacher.gives)}; take a teacher that is a model, or a loss on logits"
                )
        total = sum(term.weight for term in terms)
        if self.task_weight is None and total > 1:
            raise CompressionError(
                f"the distillation weights sum to {total:g}, so no share is left for the task loss; set task_weight"
            )
        if self.task_weight is not None and self.task_weight < 0:
            raise CompressionError(f"task_weight={self.task_weight!r} must be 0 or more; 0 leaves the task loss out")

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the losses ask of both models."""
        return tuple(need for need in NEEDS if any(need in term.loss.needs for term in self.losses))

    @property
    def effective_task_weight(self) -> float:
        """The factor of the task loss, with the default filled in."""
        if self.task_weight is not None:
            return self.task_weight
        return 1.0 - sum(term.weight for term in self.losses)


def _weighted(pair: Any) -> WeightedLoss:
    """A pair (weight, loss) as a term."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise CompressionError(
            f"losses holds {describe(pair)}, and each is a pair of weight and loss, e.g. (0.5, ForwardKL())"
        )
    return WeightedLoss(weight=pair[0], loss=pair[1])
