"""Labels of a text, or a number."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hf_compress._errors import CompressionError
from hf_compress.distillation.signal import Kind
from hf_compress.inputs.auto_classes import classes_of
from hf_compress.inputs.columns import Column
from hf_compress.inputs.label_sets import set_encoder, set_names
from hf_compress.inputs.labels import label_ids, require_named, unnamed_labels
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.inputs.streams import mapped
from hf_compress.inputs.wrong_rows import Wrong
from hf_compress.tasks.cut import encode_cut, how_many, listed
from hf_compress.tasks.heads import SEQUENCE_CLASSIFICATION, Head
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.f1 import MacroF1, MicroF1
from hf_compress.tasks.metrics.builtin.pearsonr import PearsonR
from hf_compress.tasks.metrics.builtin.spearmanr import SpearmanR
from hf_compress.tasks.metrics.counted import Decode
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.one_label import OneLabel
from hf_compress.tasks.padding import PadTexts
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import TextTask

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

Problem = Literal["single_label", "multi_label", "regression"]
_CUT = "text_cut"
"""The column of the examples that says whether `length` cut the text, or one of two."""
_PREDICTS: dict[Problem, Predictions] = {"single_label": "classes", "multi_label": "label_sets", "regression": "numbers"}


@dataclass(frozen=True, kw_only=True)
class SequenceClassification(OneLabel, TextTask, name="sequence_classification"):
    """Texts, or pairs of texts, cut to `length` tokens, with a label, labels, or a number each.

    Attributes:
        text: the column with text.
        text_pair: the column with a second text, which is read behind the first.
        length: tokens that are read of a text, or of both.
        label: the column with labels: one in a row; for multi_label lists of those that hold, or of a 0 or 1 for each; for
            regression numbers.
        classes: the names of the labels in the order of their ids; by default as the data has them.
        problem: what is predicted.
    """

    head: ClassVar[Head] = SEQUENCE_CLASSIFICATION
    streams: ClassVar[bool] = True

    text_pair: str | None = None
    problem: Problem = "single_label"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.problem == "regression" and self.classes:
            raise CompressionError("problem: regression predicts a number, which has no classes; leave classes out")

    @property
    def logit_rows(self) -> Kind:
        """As the problem says it."""
        return self.problem

    @property
    def predicts(self) -> Predictions | None:
        """Classes, sets of labels, or numbers."""
        return _PREDICTS[self.problem]

    def default_metrics(self) -> tuple[Metric, ...]:
        """Accuracy and F1; of sets F1 over all decisions first; of numbers their correlation."""
        if self.problem == "multi_label":
            return (MicroF1(), MacroF1(), Accuracy())
        return super().default_metrics() if self.problem == "single_label" else (PearsonR(), SpearmanR())

    @property
    def decided(self) -> tuple[str, ...]:
        """What is predicted, too."""
        return (*super().decided, "problem_type")

    def columns(self) -> tuple[Column, ...]:
        """Text, or two, and what is predicted."""
        from datasets import List, Value

        text, label = super().columns()
        second = [] if self.text_pair is None else [Column(key="text_pair", name=self.text_pair, feature=Value("string"))]
        features = {
            "single_label": label.feature,
            "multi_label": List(label.feature),
            "regression": (Value("float64"), Value("int64")),
        }
        return (text, *second, Column(key="label", name=self.label, feature=features[self.problem]))

    def texts(self, split: "Dataset") -> Iterable[str]:
        """The columns."""
        return super().texts(split) if self.text_pair is None else chain(super().texts(split), split[self.text_pair])

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Numbers that are none."""
        own = (RowCheck(key="label", find=self._no_numbers),) if self.problem == "regression" else ()
        return (*super().row_checks(), *own)

    def _no_numbers(self, split: "Dataset") -> Iterator[Wrong]:
        for row, number in enumerate(split[self.label]):
            if not math.isfinite(number):
                yield Wrong(position=row, says=f"has the number {number}", way_out="remove it")

    def label_names(self, splits: Splits, data: Data) -> list[str]:
        """Those of the column; none for numbers."""
        if self.problem == "regression":
            return []
        self.columns()[-1].check(splits, data.path)
        if self.problem == "single_label":
            dtype = str(getattr(splits["train"].features[self.label], "dtype", ""))
            if dtype.startswith("float"):
                raise CompressionError(
                    f"task.label: column {self.label!r} holds {dtype}, which are no labels; write problem: regression to"
                    " predict numbers, or store whole numbers"
                )
            return super().label_names(splits, data)
        require_named(splits, self.label, data, self.classes)
        return set_names(splits, self.label, data.max_train, self.classes)

    def _refuse_classes(self, model: str | FreshModel, config: "PretrainedConfig") -> None:
        """Refuse a classifier's weights for one number."""
        heads = {cls.__name__ for cls in classes_of(self.model_class(), config)}
        if isinstance(model, str) and config.num_labels != 1 and heads & set(config.architectures or ()):
            raise CompressionError(
                f"model: {model} classifies {config.num_labels} labels, and regression predicts one number; name a model"
                " for that, or one without a classifier"
            )

    def describe(self, splits: Splits, processor: Any) -> dict[str, str]:
        """Where texts are empty: how many are; they have labels, too."""
        columns = [name for name in (self.text, self.text_pair) if name is not None]
        counts = {}
        for name, split in splits.items():
            rows = zip(*(split[column] for column in columns), strict=True)
            counts[name] = (sum(not all(map(str.strip, texts)) for texts in rows), len(split))
        empty = {"empty texts": listed(counts, "rows")} if any(count for count, _ in counts.values()) else {}
        return {**super().describe(splits, processor), **empty}

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Token ids, cut to `length`, and labels."""
        target = self._target(splits, labels)
        between = "" if self.text_pair is None else _separator(processor)

        def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            texts = {"text": batch[self.text]}
            if self.text_pair is not None:
                texts["text_pair"] = [between + text for text in batch[self.text_pair]]
            encoded, cut = encode_cut(processor, self.length, **texts)
            if not all(encoded["input_ids"]):
                raise CompressionError(
                    "task.text: the tokenizer makes not one token of it, and nothing is no text; remove it"
                )
            return {**encoded, _CUT: cut, "labels": [target(label) for label in batch[self.label]]}

        return {name: mapped(split, encode, name) for name, split in splits.items()}

    def _target(self, splits: Splits, labels: list[str]) -> Callable[[Any], Any]:
        """Function of what a row has to what the loss takes."""
        if self.problem == "regression":
            return float
        if self.problem == "multi_label":
            return set_encoder(splits, self.label, labels, self.classes)
        ids = label_ids(splits, self.label, labels, self.classes)
        return lambda label: ids[label]

    def describe_examples(self, splits: Splits, examples: Splits) -> dict[str, str]:
        """How many texts are cut."""
        return {f"texts cut at {self.length} tokens": how_many(_CUT, examples)}

    def collator(self, processor: Any) -> Any:
        """Pads to the longest text of a batch."""
        return PadTexts(processor)

    def decoder(self, examples: "Dataset", rows: "Dataset", processor: Any) -> Decode:
        """The likeliest class, the labels that are more likely than not, or the number."""
        if self.problem == "single_label":
            return super().decoder(examples, rows, processor)
        return _decode_sets if self.problem == "multi_label" else _decode_numbers

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """What is predicted; and classifiers of decoders read the last token that is no padding, so they must know it."""
        changes = super().config_changes(model, config, processor, tokenizer)
        if self.problem == "regression":
            self._refuse_classes(model, config)
            (name,) = unnamed_labels(1)
            changes |= {"problem_type": "regression", "id2label": {0: name}, "label2id": {name: 0}}
        else:
            changes["problem_type"] = f"{self.problem}_classification"
        unpadded = isinstance(model, str) and getattr(config, "pad_token_id", None) is None
        return {**changes, "pad_token_id": processor.pad_token_id} if unpadded and processor is not None else changes


def _separator(tokenizer: Any) -> str:
    """What stands between two texts where the tokenizer itself puts nothing between them."""
    if tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False):
        return ""
    return tokenizer.sep_token or tokenizer.eos_token or " "


def _decode_sets(logits: Any, labels: Any) -> tuple[list[Any], list[Any]]:
    return (logits > 0).astype(int).tolist(), labels.astype(int).tolist()


def _decode_numbers(logits: Any, labels: Any) -> tuple[list[Any], list[Any]]:
    return logits.reshape(-1).tolist(), labels.reshape(-1).tolist()
