"""What tasks share whose inputs are decoded when a batch is read, because all of them would not fit into memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task import Task

_KEEPS_COLUMNS = "remove_unused_columns"


@dataclass(frozen=True, kw_only=True)
class ReadsLate(Task):
    """A task whose examples are made by a transform of the raw rows.

    Attributes:
        inputs: what it reads, in a refusal.
    """

    inputs: ClassVar[str]

    @property
    def training_defaults(self) -> Mapping[str, Any]:
        """The columns of the raw rows must still be there."""
        return {**super().training_defaults, _KEEPS_COLUMNS: False}

    def refused_training(self, training: Mapping[str, Any], metrics: Sequence[Metric] = ()) -> dict[str, str]:
        """What would take the inputs away, too."""
        refused = super().refused_training(training, metrics)
        if training.get(_KEEPS_COLUMNS) is True:
            refused[_KEEPS_COLUMNS] = f"true would remove the {self.inputs} before they are read; leave it out"
        return refused
