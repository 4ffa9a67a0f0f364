"""The contract of a task: how rows become examples, logits become rows, and predictions become numbers."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, check_all
from hf_compress._registry import Strategy, unknown
from hf_compress.inputs.columns import Column
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.tasks.heads import Head
from hf_compress.tasks.metrics.counted import Counted, Decode
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.plain_trainer import own_metrics, plain_trainer, unpack_before_generation

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

Splits = dict[str, "Dataset"]


class Task(Strategy, kind="task", package="hf_compress.tasks.builtin"):
    """What a model is for. Its fields are the columns it reads and its options.

    What reads one kind of input is shared by a class between (`TextTask`, `ImageTask`), labels of whole rows by
    `OneLabel`; docs/adding-a-task.md says how to write one.

    Attributes:
        head: the models' output head: their Auto class, and what a row of its logits is.
        processor_class: what loads the processor from a checkpoint, by name.
        takes_tokenizer: recipes may name a tokenizer for it, and must where the weights are fresh.
        predicts: what its predictions are to a metric, which says the form of what `decoder` gives; None for a task that is
            measured by its likelihood alone.
        metric: what reports compare by.
        metrics: what the Trainer's evaluations give, for `metric_for_best_model`.
        greater_is_better: the direction of `metric`.
        generates: its predictions are generated, so its Trainer is a Seq2SeqTrainer, and its TrainingArguments are
            Seq2SeqTrainingArguments.
    """

    head: ClassVar[Head]
    processor_class: ClassVar[str]
    takes_tokenizer: ClassVar[bool] = False
    predicts: ClassVar[Predictions | None] = None
    metric: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    greater_is_better: ClassVar[bool]
    generates: ClassVar[bool] = False

    def model_class(self) -> Any:
        """The Auto class itself."""
        import transformers

        return getattr(transformers, self.head.auto_class)

    @property
    def decided(self) -> tuple[str, ...]:
        """The keys of a fresh model's config that follow from data and processor."""
        return ()

    @property
    def unit(self) -> str:
        """What reports call its examples."""
        return "examples"

    # The data.

    def columns(self) -> tuple[Column, ...]:
        """What it reads; importing `datasets` takes a moment, so it is asked late."""
        raise TypeError(f"{type(self).__name__} defines no columns()")

    def check_data(self, splits: Splits, data: Data) -> None:
        """Refuse data without a column, or with something else in it.

        Raises:
            RecipeError: a problem for each column, at `task.<field>`.
        """
        check_all(*[partial(column.check, splits, data.path) for column in self.columns()])

    def labels(self, splits: Splits, data: Data) -> list[str]:
        """The names of the labels in the order of their ids; [] for a task without.

        Asked also where another column was refused, so that a refusal is complete: it looks at its own alone.

        Raises:
            CompressionError: labels that cannot be numbered, at `task.<field>`.
        """
        return []

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """The splits as the model takes them; a row may become several examples, or none.

        Args:
            splits: raw rows that `check_data` found nothing wrong with.
            processor: from `load_processor`.
            labels: in the order of their ids.
        """
        raise TypeError(f"{type(self).__name__} defines no examples()")

    def collator(self, processor: Any) -> Any:
        """Makes a batch of tensors from examples."""
        from transformers import default_data_collator

        return default_data_collator

    def describe(self, splits: Splits, processor: Any) -> dict[str, str]:
        """Facts about the data for a report's setting and the log."""
        return {}

    # The model.

    def load_processor(self, model: str | FreshModel, config: "PretrainedConfig", splits: Splits) -> Any:
        """The model's own tokenizer, image processor, ...

        Args:
            model: a folder, a Hub id or a config.
            config: the model's.
            splits: raw rows, for a processor that is made of them; empty where the data was refused.

        Raises:
            CompressionError: it cannot be had.
        """
        raise TypeError(f"{type(self).__name__} defines no load_processor()")

    def texts(self, split: "Dataset") -> Iterable[str]:
        """What a fresh tokenizer is trained on, for a task that takes one."""
        raise TypeError(f"{type(self).__name__} defines no texts()")

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """What the processor decides in the model's config.

        Args:
            model: a folder, a Hub id or a config.
            config: the model's own.
            processor: from `load_processor`; None where it is yet to be trained.
            tokenizer: as the recipe has it.
        """
        return {}

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse a config that makes a model, and the wrong one.

        Raises:
            CompressionError: it cannot do the task, or does not fit the processor.
        """

    def check_model(self, model: "PreTrainedModel") -> None:
        """Refuse a model that the examples do not fit.

        Args:
            model: may be without memory.

        Raises:
            CompressionError: at the field that does not fit.
        """

    # Training and measuring.

    @property
    def training_defaults(self) -> Mapping[str, Any]:
        """TrainingArguments that it needs unless the recipe says otherwise; reports are measured with them too."""
        return {}

    def refused_training(self, training: Mapping[str, Any], metrics: Sequence[Metric] = ()) -> dict[str, str]:
        """TrainingArguments that another task would take: key -> sentence.

        Args:
            training: as a recipe has it.
            metrics: that were asked for beside the task's own.
        """
        metric = training.get("metric_for_best_model")
        known = (*self.metrics, *[key for one in metrics for key in one.gives])
        if isinstance(metric, str) and metric.removeprefix("eval_") not in known:
            return {"metric_for_best_model": unknown(f"metric of {self.name}", metric, known)}
        return {}

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

    def preprocess_logits(self) -> Any:
        """Function of a batch's logits and labels to what `compute_metrics` reads of them, e.g. the most likely classes;
        evaluations then keep that and not the logits. None keeps the logits.
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
        """The metrics of a model for a report; `metric` is among them.

        By default the loss and `compute_metrics`, by a plain Trainer's evaluation, which generates where the task does.

        Args:
            model: on the device where it is measured.
            examples: what `examples` made of a split, or some of them.
            rows: the raw rows of that split.
            processor: from `load_processor`.
            batch_size: examples at once.
            description: the progress bar's label.
            metrics: beside its own.
        """
        arguments = {
            **self.training_defaults,
            "per_device_eval_batch_size": batch_size,
            "use_cpu": model.device.type == "cpu",
            "dataloader_pin_memory": model.device.type != "cpu",
        }
        with plain_trainer(
            model,
            arguments,
            self.collator(processor),
            generates=self.generates,
            compute_metrics=self.compute_metrics(examples, rows, processor, metrics),
            preprocess_logits_for_metrics=self.preprocess_logits(),
            processing_class=processor,
        ) as trainer:
            unpack_before_generation(trainer, examples)
            return own_metrics(trainer.predict(examples, metric_key_prefix="eval").metrics)

    def batches(self, examples: "Dataset", processor: Any, batch_size: int) -> Any:
        """Prepared examples, batch by batch, for a task that measures by itself."""
        from torch.utils.data import DataLoader

        return DataLoader(examples, batch_size=batch_size, collate_fn=self.collator(processor))  # type: ignore[arg-type]


def check_count(value: int, name: str, least: int = 1) -> None:
    """Refuse a number below `least`.

    Raises:
        CompressionError: naming both.
    """
    if value < least:
        raise CompressionError(f"{name}={value} must be {least} or more")
