"""What tasks share whose rows have one label each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_compress.inputs.columns import Column
from hf_compress.inputs.labels import check_classes, label_names, require_named
from hf_compress.inputs.sections import Data
from hf_compress.tasks.metrics.classification import OWN_METRICS, classify, decode_classes
from hf_compress.tasks.metrics.counted import Decode
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.task import Splits, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class OneLabel(Task):
    """A task that chooses one of several labels for every row; stands before the class that reads the input.

    Attributes:
        label: the column with labels: class names, text, or whole numbers from 0 without gaps.
        classes: the names of the labels in the order of their ids; by default as the data has them.
    """

    label: str = "label"
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_classes(self.classes)
        super().__post_init__()

    @property
    def predicts(self) -> Predictions | None:
        """Classes."""
        return "classes"

    @property
    def decided(self) -> tuple[str, ...]:
        """The labels are the data's."""
        return (*super().decided, "id2label", "label2id")

    def columns(self) -> tuple[Column, ...]:
        """Labels, behind the input."""
        from datasets import ClassLabel

        return (*super().columns(), Column(key="label", name=self.label, feature=ClassLabel(names=["a", "b"])))

    def label_names(self, splits: Splits, data: Data) -> list[str]:
        """Those of the column."""
        for column in self.columns():
            if column.key == "label":
                column.check(splits, data.path)
        require_named(splits, self.label, data, self.classes)
        return label_names(splits, self.label, data.max_train, classes=self.classes)

    def default_metrics(self) -> tuple[Metric, ...]:
        """Accuracy and F1."""
        return OWN_METRICS

    def decoder(self, examples: "Dataset", rows: "Dataset", processor: Any) -> Decode:
        """The likeliest class of rows with a label."""
        return decode_classes

    def chance(self, rows: "Dataset", config: "PretrainedConfig | None") -> float | None:
        """The share of the most frequent label: the accuracy of always naming it."""
        if self.logit_rows != "single_label":
            return None
        counts = Counter(label for label in rows[self.label] if label is not None and label != -1)
        return max(counts.values()) / counts.total() if counts else None

    def evaluate(
        self,
        model: Any,
        examples: "Dataset",
        rows: "Dataset",
        processor: Any,
        batch_size: int,
        description: str,
        metrics: Sequence[Metric] = (),
    ) -> dict[str, float]:
        """The metrics, and nll, or the mean squared error of numbers."""
        batches, decode = self.batches(examples, processor, batch_size), self.decoder(examples, rows, processor)
        assert self.logit_rows is not None
        return classify(model, batches, description, self.all_metrics(metrics), decode, self.logit_rows)
