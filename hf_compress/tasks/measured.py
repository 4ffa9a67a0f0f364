"""What a task is measured by: its own metrics, those that a recipe names, and what they compare."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem
from hf_compress.distillation.signal import Kind
from hf_compress.tasks.heads import Head
from hf_compress.tasks.metrics.counted import Counted, Decode
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

    from hf_compress.tasks.shown import Shown


class Measured:
    """The part of a task that says how good predictions are."""

    name: ClassVar[str]
    head: ClassVar[Head]

    # Class attributes where every row is alike, properties where an option of the task chooses.

    @property
    def logit_rows(self) -> Kind | None:
        """What a row of its logits is."""
        return self.head.rows

    @property
    def predicts(self) -> Predictions | None:
        """What its predictions are to a metric, which says the form of what `decoder` gives; None for a task that is
        measured by its likelihood alone.
        """
        return None

    @property
    def metric(self) -> str:
        """What reports compare by: the first number of its first metric."""
        return self._first_metric.gives[0]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the Trainer's evaluations give, for `metric_for_best_model`."""
        return ("loss", *[key for metric in self.default_metrics() for key in metric.gives])

    @property
    def greater_is_better(self) -> bool:
        """The direction of `metric`."""
        return self._first_metric.greater_is_better

    def chance(self, rows: "Dataset", config: "PretrainedConfig | None") -> float | None:
        """What `metric` is for a model that knows nothing of its input; None where that is not known.

        Args:
            rows: raw ones, those that are measured.
            config: the model's.
        """
        return None

    def written(self, model: Any, examples: "Dataset", processor: Any, count: int) -> "list[Shown] | None":
        """What a model writes behind the beginnings of the first examples; None for a task shown by its predictions.

        Args:
            model: on the device where it is measured.
            examples: what `examples` made of a split.
            processor: from `load_processor`.
            count: examples at most.
        """
        return None

    @property
    def _first_metric(self) -> Metric:
        for metric in self.default_metrics():
            return metric
        raise TypeError(f"{type(self).__name__} defines no metric, and no default_metrics() that say it")

    def default_metrics(self) -> tuple[Metric, ...]:
        """What its predictions are always measured by."""
        return ()

    def all_metrics(self, metrics: Sequence[Metric]) -> list[Metric]:
        """Its own and those that were asked for, which replace its own with other options."""
        return list(({one.gives: one for one in self.default_metrics()} | {one.gives: one for one in metrics}).values())

    def check_metrics(self, metrics: Sequence[Metric], labels: Sequence[str] = ()) -> list[Problem]:
        """What is wrong with the metrics that were asked for, at their places in the list.

        Args:
            metrics: beside its own.
            labels: in the order of their ids; empty where they are not known yet.
        """
        problems: list[Problem] = []
        if metrics and self.predicts is None:
            message = f"{self.name} is measured by its likelihood ({self.metric}) and has no predictions; leave metrics out"
            return [Problem(path="", message=message)]
        for place, metric in enumerate(metrics):
            others = [one for one in self.default_metrics() if one.gives != metric.gives]
            same = [(key, one.name) for one in others for key in one.gives if key in metric.gives]
            if same:
                message = f"{metric.name} gives {same[0][0]!r}, and so does {same[0][1]}, which {self.name} always has"
                problems.append(Problem(path=str(place), message=message))
                continue
            try:
                metric.check(self.predicts, labels)  # type: ignore[arg-type]
            except CompressionError as error:
                problems.append(Problem(path=str(place), message=str(error)))
        return problems

    def documents(self, rows: "Dataset") -> Sequence[str] | None:
        """Running text, a document for each row, for perplexities of whole documents; None for a task without.

        Args:
            rows: raw ones.
        """
        return None

    @property
    def has_documents(self) -> bool:
        """Whether its rows are running text."""
        return type(self).documents is not Measured.documents

    def likelihood_tokens(self, rows: "Dataset", processor: Any) -> int | None:
        """How many tokens the likelihood of the rows is a product over; None for a task that measures no such product.

        By it numbers per token compare that were measured with different tokenizers, so it counts whole texts: where they
        are cut, tokenizers leave different parts of them.

        Args:
            rows: raw ones.
            processor: from `load_processor`.
        """
        return None

    def decoder(self, examples: "Dataset", rows: "Dataset", processor: Any) -> Decode | None:
        """What makes predictions and references, in the form of `predicts`, of a batch's logits and labels.

        Args:
            examples: those that are evaluated, in the order of the predictions.
            rows: the raw rows that they were made of.
            processor: from `load_processor`.
        """
        return None

    def compute_metrics(self, examples: "Dataset", rows: "Dataset", processor: Any, metrics: Sequence[Metric] = ()) -> Any:
        """Function of an EvalPrediction to `metrics` without "loss"; None where the loss says it all.

        Args:
            examples: those that are evaluated, in the order of the predictions.
            rows: the raw rows that they were made of.
            processor: from `load_processor`.
            metrics: beside its own.
        """
        decode = self.decoder(examples, rows, processor)
        return None if decode is None else Counted(self.all_metrics(metrics), decode)
