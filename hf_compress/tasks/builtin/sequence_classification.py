"""One label for a text."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress.inputs.labels import label_ids
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from hf_compress.tasks.heads import SEQUENCE_CLASSIFICATION, Head
from hf_compress.tasks.one_label import OneLabel
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import TextTask

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class SequenceClassification(OneLabel, TextTask, name="sequence_classification"):
    """Texts, cut to `length` tokens, with one label each.

    Attributes:
        text: the column with text.
        length: tokens that are read of a text.
        label: the column with labels.
    """

    head: ClassVar[Head] = SEQUENCE_CLASSIFICATION

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Token ids, cut to `length`, and labels."""
        ids = label_ids(splits, self.label, labels)

        def encode(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            encoded = processor(batch[self.text], truncation=True, max_length=self.length)
            return {**encoded, "labels": [ids[label] for label in batch[self.label]]}

        return {
            name: split.map(encode, batched=True, remove_columns=split.column_names, desc=f"tokenizing {name}")
            for name, split in splits.items()
        }

    def collator(self, processor: Any) -> Any:
        """Pads to the longest text of a batch."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(processor)

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """Classifiers of decoders read the last token that is no padding, so they must know it."""
        changes = super().config_changes(model, config, processor, tokenizer)
        unpadded = isinstance(model, str) and getattr(config, "pad_token_id", None) is None
        return {**changes, "pad_token_id": processor.pad_token_id} if unpadded and processor is not None else changes
