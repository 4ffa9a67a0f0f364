"""What tasks share whose inputs are decoded when a batch is read, because all of them would not fit into memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hf_compress.inputs.row_numbers import NamingRows, source_of
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task import Splits, Task

_KEEPS_COLUMNS = "remove_unused_columns"


@dataclass(frozen=True, kw_only=True)
class ReadsLate(Task):
    """A task whose examples are made by a transform of the raw rows.

    Attributes:
        inputs: what it reads, in a refusal.
    """

    inputs: ClassVar[str]

    def late(self, splits: Splits, read: Callable[[dict[str, list[Any]]], Any]) -> Splits:
        """The splits, read by a function of a batch of raw rows when it is asked for; its refusals name the row."""
        return {
            name: split.with_transform(NamingRows(read, source_of(split.features, name))) for name, split in splits.items()
        }

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
