"""The contract of a task: how rows become examples, logits become rows, and predictions become numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy, unknown
from hf_compress.inputs.columns import Column
from hf_compress.inputs.row_checks import RowCheck, check_rows
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.tasks.heads import Head
from hf_compress.tasks.measured import Measured
from hf_compress.tasks.metrics.directions import same_as_loss
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.plain_trainer import own_metrics, plain_trainer, unpack_before_generation

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

Splits = dict[str, "Dataset"]


class Task(Measured, Strategy, kind="task", package="hf_compress.tasks.builtin"):
    """What a model is for. Its fields are the columns it reads and its options.

    What reads one kind of input is shared by a class between (`TextTask`, `ImageTask`), labels of whole rows by
    `OneLabel`; docs/adding-a-task.md says how to write one.

    Attributes:
        head: the models' output head: their Auto class, and what a row of its logits is.
        processor_class: what loads the processor from a checkpoint, by name.
        takes_tokenizer: recipes may name a tokenizer for it, and must where the weights are fresh.
        generates: its predictions are generated, so its Trainer is a Seq2SeqTrainer, and its TrainingArguments are
            Seq2SeqTrainingArguments.
        token_columns: columns of the examples that hold the token ids of a model's vocabulary; empty for a task without.
        streams: `examples` takes an IterableDataset as `train` (`inputs.streams.mapped` does), others the first rows.
    """

    head: ClassVar[Head]
    processor_class: ClassVar[str]
    takes_tokenizer: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    token_columns: ClassVar[tuple[str, ...]] = ()
    streams: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Where options are refused; asked of every class that a task is made of."""

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

    def row_checks(self) -> tuple[RowCheck, ...]:
        """What may be wrong in its rows; looked for where the columns are right."""
        return ()

    def check_data(self, splits: Splits, data: Data) -> None:
        """Refuse data without a column, with something else in it, and with rows in which something is wrong.

        Raises:
            RecipeError: with everything that is, at `task.<field>`.
        """
        check_rows(self.columns(), self.row_checks(), splits, data.path)

    def label_names(self, splits: Splits, data: Data) -> list[str]:
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

    def describe_examples(self, splits: Splits, examples: Splits) -> dict[str, str]:
        """Such facts that are known once `examples` are made of `splits`."""
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

    def with_tokenizer(self, tokenizer: Any, model: str | FreshModel, config: "PretrainedConfig") -> Any:
        """The processor with a tokenizer that the recipe names, or that is made for the run; by default that itself.

        Args:
            tokenizer: loaded or trained.
            model: a folder, a Hub id or a config.
            config: the model's.
        """
        return tokenizer

    def finish_processor(self, processor: Any, fresh: bool) -> None:
        """Give a processor what the task needs of it and it lacks.

        Args:
            processor: loaded, or made for the run.
            fresh: made for the run.

        Raises:
            CompressionError: it lacks what it must bring.
        """

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

    def fit_rows(self, splits: Splits, model: "PreTrainedModel", processor: Any) -> Splits:
        """The raw rows, looked at with the model; asked last, where nothing is wrong.

        By default as they are. May note in a column what only the model knows of a row.

        Args:
            splits: raw rows.
            model: may be without memory.
            processor: from `load_processor`; None where its tokenizer is yet to be trained.

        Raises:
            CompressionError: with a row that the model cannot take.
        """
        return splits

    def finish_model(self, model: "PreTrainedModel", processor: Any) -> None:
        """Set what a loaded model, or one with fresh weights, needs to know beside its config: how it generates.

        Args:
            model: with weights.
            processor: from `load_processor`.
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
            hint = "; evaluations while training give it as the loss: write loss" if same_as_loss(metric) else ""
            return {"metric_for_best_model": unknown(f"metric of {self.name}", metric, known) + hint}
        return {}

    def preprocess_logits(self) -> Any:
        """Function of a batch's logits and labels to what `compute_metrics` reads of them, e.g. the most likely classes;
        evaluations then keep that and not the logits. None keeps the logits.
        """
        return None

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
            metrics: beside its own. Of a task without predictions they keep rows and give no number: they are asked about
                the nll of every row, and about the number of its tokens.
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
