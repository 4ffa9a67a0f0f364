"""The pruning job as a value."""

from dataclasses import dataclass, field

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._modules.matching import DEFAULT_IGNORE, DEFAULT_TARGETS
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.allocations.uniform import Uniform
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.patterns.unstructured import Unstructured
from hf_compress.pruning.schedule import Schedule
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
    """

    criterion: Criterion = field(default_factory=Magnitude)
    pattern: Pattern = field(default_factory=Unstructured)
    schedule: Schedule = field(default_factory=Cubic)
    allocation: Allocation = field(default_factory=Uniform)
    targets: tuple[str, ...] = DEFAULT_TARGETS
    ignore: tuple[str, ...] = DEFAULT_IGNORE

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        object.__setattr__(self, "ignore", tuple(self.ignore))
        if not self.targets:
            raise CompressionError("pruning.targets is empty; name what to prune, e.g. [Linear]")
        self.pattern.check(self.schedule.final)
        if not self.pattern.any_sparsity and not isinstance(self.allocation, Uniform):
            raise CompressionError(
                f"the pattern {self.pattern.name} fixes the sparsity of each layer, so the allocation"
                f" {self.allocation.name} has nothing to share out; use the allocation uniform, or the pattern unstructured"
            )
