"""The task table: what differs between causal language models, text classifiers and image classifiers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import require_column
from hf_compress.inputs.labels import label_ids
from hf_compress.inputs.sections import Data

if TYPE_CHECKING:
    from datasets import Dataset

Splits = dict[str, "Dataset"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One row of the table.

    Attributes:
        name: as recipes say it.
        auto_class: the Auto class in transformers, by name.
        input: "text" or "image": which column is read and which processor is needed.
        labelled: whether the data has a label column.
        metric: what reports compare by.
        metrics: what the Trainer's evaluations give, for `metric_for_best_model`.
        greater_is_better: its direction.
        prepare: raw splits, processor, data section, labels in the order of their ids -> examples the model takes.
        training_defaults: TrainingArguments the task needs unless the recipe says otherwise.
    """

    name: str
    auto_class: str
    input: str
    labelled: bool
    metric: str
    metrics: tuple[str, ...]
    greater_is_better: bool
    prepare: Callable[[Splits, Any, Data, list[str]], Splits]
    training_defaults: dict[str, Any]

    def model_class(self) -> Any:
        """The Auto class itself."""
        import transformers

        return getattr(transformers, self.auto_class)

    def check_input(self, splits: Splits, data: Data) -> None:
        """Refuse data without the column that the model reads, or with something else in it.

        Raises:
            CompressionError: at `data.text` or `data.image`, or a package to read images is missing.
        """
        column = data.text if self.input == "text" else data.image
        require_column(splits, column, self.input, data.path)
        (_check_text if self.input == "text" else _check_images)(splits, column, data.path)

    @property
    def decided(self) -> tuple[str, ...]:
        """The keys of a fresh model's config that follow from data and tokenizer."""
        text = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id") if self.input == "text" else ()
        return (*text, "id2label", "label2id") if self.labelled else text

    def training_mapping(self, training: dict[str, Any]) -> dict[str, Any]:
        """TrainingArguments with the task's defaults."""
        import torch

        # Pinned memory without an accelerator is a warning on every data loader.
        pin = {} if torch.accelerator.is_available() else {"dataloader_pin_memory": False}
        return {**pin, **self.training_defaults, **training}

    def collator(self, processor: Any) -> Any:
        """Examples -> a batch of tensors."""
        from transformers import DataCollatorWithPadding, default_data_collator

        return DataCollatorWithPadding(processor) if self.labelled and self.input == "text" else default_data_collator

    def compute_metrics(self) -> Any:
        """For the Trainer's evaluations; None where the loss says it all."""
        from hf_compress.tasks.metrics.classification import trainer_metrics

        return trainer_metrics if self.labelled else None

    def evaluate(self, model: Any, split: "Dataset", processor: Any, batch_size: int, description: str) -> dict[str, float]:
        """The task's metrics of a model on prepared examples."""
        from torch.utils.data import DataLoader

        from hf_compress.tasks.metrics.classification import classify
        from hf_compress.tasks.metrics.perplexity import perplexity

        loader = DataLoader(split, batch_size=batch_size, collate_fn=self.collator(processor))  # type: ignore[arg-type]
        return (classify if self.labelled else perplexity)(model, loader, description)


def _check_text(splits: Splits, column: str, path: str) -> None:
    for name, split in splits.items():
        feature = split.features[column]
        if "string" not in str(getattr(feature, "dtype", "")):
            raise CompressionError(f"data.text: column {column!r} of the {name} split of {path} holds {feature}, not text")


def _check_images(splits: Splits, column: str, path: str) -> None:
    import importlib.util

    from datasets import Image

    if importlib.util.find_spec("PIL") is None:
        raise CompressionError("task: image_classification reads images with Pillow; install hf-compress[vision]")
    for name, split in splits.items():
        feature = split.features[column]
        if not isinstance(feature, Image):
            raise CompressionError(
                f"data.image: column {column!r} of the {name} split of {path} holds {feature}, not images; write the files"
                " with datasets after cast_column(..., datasets.Image())"
            )


def _blocks(splits: Splits, tokenizer: Any, data: Data, labels: list[str]) -> Splits:
    """Documents with an end token between them, cut into blocks of `length` tokens; the last, shorter one is dropped.

    Where the tokenizer puts a token for the beginning before every text by itself (Gemma, Llama), each document begins
    with it here too. It is no label: nothing ever has to predict it, and perplexity stays that of the text.
    """
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.pad_token_id
    begin = _beginning(tokenizer)

    def pack(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        ids: list[int] = []
        labels: list[int] = []
        for tokens in tokenizer(batch[data.text], add_special_tokens=False, verbose=False)["input_ids"]:
            before = [] if tokens[: len(begin)] == begin else begin  # the text may have brought its own
            ids += [*before, *tokens, end]
            labels += [*[-100] * len(before), *tokens, end]
        starts = range(0, len(ids) - data.length + 1, data.length)
        return {
            "input_ids": [ids[start : start + data.length] for start in starts],
            "labels": [labels[start : start + data.length] for start in starts],
        }

    packed = {
        name: split.map(pack, batched=True, batch_size=1000, remove_columns=split.column_names, desc=f"tokenizing {name}")
        for name, split in splits.items()
    }
    for name, split in packed.items():
        if len(split) == 0:
            raise CompressionError(
                f"data.length: the {name} split has fewer than {data.length} tokens; choose a shorter length or add text"
            )
    return packed


def _beginning(tokenizer: Any) -> list[int]:
    """The token that the tokenizer itself puts before every text; [] where it puts none."""
    first = tokenizer("", verbose=False)["input_ids"][:1]
    return first if first == [tokenizer.bos_token_id] else []


def _classified_texts(splits: Splits, tokenizer: Any, data: Data, labels: list[str]) -> Splits:
    """Token ids, truncated to `length`, and labels."""
    ids = label_ids(splits, data, labels)

    def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = tokenizer(batch[data.text], truncation=True, max_length=data.length)
        return {**encoded, "labels": [ids[label] for label in batch[data.label]]}

    return {
        name: split.map(encode, batched=True, remove_columns=split.column_names, desc=f"tokenizing {name}")
        for name, split in splits.items()
    }


def _classified_images(splits: Splits, processor: Any, data: Data, labels: list[str]) -> Splits:
    """Pixels and labels, computed when a batch is read, because pixels of all images would not fit into memory."""
    ids = label_ids(splits, data, labels)
    transform = partial(_read_images, processor=processor, image=data.image, label=data.label, ids=ids)
    return {name: split.with_transform(transform) for name, split in splits.items()}


def _read_images(
    batch: dict[str, list[Any]], processor: Any, image: str, label: str, ids: dict[Any, int]
) -> dict[str, Any]:
    pixels = processor([item.convert("RGB") for item in batch[image]], return_tensors="pt")["pixel_values"]
    return {"pixel_values": list(pixels), "labels": [ids[value] for value in batch[label]]}


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            name="causal_lm",
            auto_class="AutoModelForCausalLM",
            input="text",
            labelled=False,
            metric="perplexity",
            metrics=("loss",),
            greater_is_better=False,
            prepare=_blocks,
            training_defaults={},
        ),
        Task(
            name="sequence_classification",
            auto_class="AutoModelForSequenceClassification",
            input="text",
            labelled=True,
            metric="accuracy",
            metrics=("loss", "accuracy", "macro_f1"),
            greater_is_better=True,
            prepare=_classified_texts,
            training_defaults={},
        ),
        Task(
            name="image_classification",
            auto_class="AutoModelForImageClassification",
            input="image",
            labelled=True,
            metric="accuracy",
            metrics=("loss", "accuracy", "macro_f1"),
            greater_is_better=True,
            prepare=_classified_images,
            # Images are decoded when a batch is read, so their columns must still be there.
            training_defaults={"remove_unused_columns": False},
        ),
    )
}
