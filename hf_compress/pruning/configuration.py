"""The pruning job as a value."""

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._modules.matching import DEFAULT_IGNORE, DEFAULT_TARGETS
from hf_compress._registry import Strategy
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.allocations.uniform import Uniform
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.patterns.unstructured import Unstructured
from hf_compress.pruning.schedule import Schedule
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.schedules.cubic import Cubic


@dataclass(frozen=True, kw_only=True)
class Pruning(metaclass=CheckedKinds):
    """What to prune, by which measure, in which shape, how much and when.

    Attributes:
        criterion: scores each weight.
        pattern: the shape of the zeros.
        schedule: how much at which step.
        allocation: how the overall sparsity is shared among layers.
        targets: class names, module names or `re:` patterns.
        ignore: the same syntax; wins over targets.
        masks: "scored" prunes by criterion, pattern, schedule and allocation; "from_zeros" keeps the zeros that the model
            has when training begins and adds none, so those four have no say (`schedule` becomes one that ends at 0).
    """

    criterion: Criterion = field(default_factory=Magnitude)
    pattern: Pattern = field(default_factory=Unstructured)
    schedule: Schedule = field(default_factory=Cubic)
    allocation: Allocation = field(default_factory=Uniform)
    targets: tuple[str, ...] = DEFAULT_TARGETS
    ignore: tuple[str, ...] = DEFAULT_IGNORE
    masks: Literal["scored", "from_zeros"] = "scored"

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "ignore", tuple(self.ignore))
        if not self.targets:
            raise CompressionError("pruning.targets is empty; name what to prune, e.g. [Linear]")
        if self.keeps_zeros:
            self._keep_zeros()
        self.pattern.check(self.schedule.final)
        if self.criterion.cut is not None:
            self._check_cut()
        if self.criterion.in_rows and self.allocation.compares_layers:
            raise CompressionError(
                f"the criterion {self.criterion.name} compares weights within each row, and the allocation"
                f" {self.allocation.name} those of all layers; use the allocation uniform, erk or owl, or the criterion"
                " magnitude"
            )
        if not self.pattern.any_sparsity and not isinstance(self.allocation, Uniform):
            raise CompressionError(
                f"the pattern {self.pattern.name} fixes the sparsity of each layer, so the allocation"
                f" {self.allocation.name} has nothing to share out; use the allocation uniform, or the pattern unstructured"
            )

    def _keep_zeros(self) -> None:
        """Refuse what would choose weights; the schedule becomes the one that adds no zeros."""
        unscheduled = Constant(final=0.0)
        asked: list[Strategy] = [
            part for part in (self.criterion, self.pattern, self.allocation) if type(part) not in _DEFAULTS
        ]
        asked += [self.schedule] if self.schedule not in (Cubic(), unscheduled) else []
        if asked:
            raise CompressionError(
                f"masks=from_zeros keeps the zeros that are there and chooses none, so the {asked[0].kind} {asked[0].name}"
                " has no say; leave it out, or leave masks out to prune further (zeros that are there stay all the same)"
            )
        object.__setattr__(self, "schedule", unscheduled)

    def _check_cut(self) -> None:
        """Refuse what would share out or round a sparsity that the criterion's value makes by itself."""
        found = f"the criterion {self.criterion.name} prunes whatever lies below its value"
        if not isinstance(self.pattern, Unstructured) or not isinstance(self.allocation, Uniform):
            part = self.allocation if isinstance(self.pattern, Unstructured) else self.pattern
            raise CompressionError(f"{found}, and the {part.kind} {part.name} has no say in that; leave it out")
        default = {one.name: one.default for one in dataclasses.fields(self.schedule)}
        if (self.schedule.final, self.schedule.initial) != (default["final"], default["initial"]):
            raise CompressionError(
                f"{found}, so the sparsity is what comes out; leave schedule.final and schedule.initial out"
            )

    @property
    def keeps_zeros(self) -> bool:
        """The zeros that are there are kept and none are added."""
        return self.masks == "from_zeros"

    @property
    def needs(self) -> tuple[str, ...]:
        """The statistics that criterion and allocation read."""
        return tuple(dict.fromkeys((*self.criterion.needs, *self.allocation.needs)))

    def amount(self, step: int, max_steps: int) -> float:
        """How far masks are after `step` of `max_steps` steps: the sparsity, or the share of a criterion's cut."""
        if self.criterion.cut is None:
            return self.schedule.sparsity(step, max_steps)
        return self.schedule.reached(step, max_steps) or 0.0

    @property
    def final(self) -> float:
        """The amount at the end."""
        return self.schedule.final if self.criterion.cut is None else 1.0

    @property
    def target(self) -> float | None:
        """The sparsity at the end; None where a criterion's value makes it, or the model has it already."""
        return self.schedule.final if self.criterion.cut is None and not self.keeps_zeros else None


_DEFAULTS = (Magnitude, Unstructured, Uniform)
