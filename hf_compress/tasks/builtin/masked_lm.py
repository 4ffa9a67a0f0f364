"""The hidden tokens of a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.tasks.blocks import packed
from hf_compress.tasks.heads import MASKED_LM, Head
from hf_compress.tasks.masking import MaskRows
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.perplexity import perplexity
from hf_compress.tasks.row_kind import IGNORED
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import TextTask

if TYPE_CHECKING:
    from datasets import Dataset

_PERSISTENT = "dataloader_persistent_workers"


@dataclass(frozen=True, kw_only=True)
class MaskedLM(TextTask, name="masked_lm"):
    """Documents, cut into blocks in which tokens are hidden, and predicted from those before and behind them.

    Other tokens are hidden in every epoch, and the same ones in every evaluation. Its perplexity is that of hidden tokens,
    each given all that is not hidden, which is no perplexity of the text.

    Attributes:
        text: the column with documents.
        length: tokens per block.
        masked: share of the tokens that are hidden.
    """

    head: ClassVar[Head] = MASKED_LM
    metric: ClassVar[str] = "perplexity"
    greater_is_better: ClassVar[bool] = False

    masked: float = 0.15

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.masked < 1:
            raise CompressionError(f"masked={self.masked} must lie between 0 and 1, e.g. 0.15")

    @property
    def unit(self) -> str:
        """Blocks."""
        return f"blocks of {self.length} tokens"

    def finish_processor(self, processor: Any, fresh: bool) -> None:
        """Give a tokenizer that is made for the run a mask token; refuse another without.

        Raises:
            CompressionError: there is none.
        """
        if fresh and processor.mask_token is None:
            processor.add_special_tokens({"mask_token": "<|mask|>"})
        if processor.mask_token is None:
            raise CompressionError(
                "tokenizer: has no mask token, so no token can be hidden; name the tokenizer of a model that predicts"
                " hidden tokens"
            )

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Blocks; those of validation and test with their tokens hidden, those of training as they are.

        A document begins and ends with the tokenizer's own tokens; where it puts none, an end token follows it.
        """
        bare = processor.num_special_tokens_to_add() == 0
        end = [processor.eos_token_id if processor.eos_token_id is not None else processor.pad_token_id] if bare else []

        def documents(batch: Mapping[str, list[Any]]) -> Mapping[str, list[int]]:
            tokenized = processor(batch[self.text], verbose=False)["input_ids"]
            return {"input_ids": [id for tokens in tokenized for id in [*tokens, *end]]}

        masks = self.collator(processor)

        def hide(row: Mapping[str, list[int]]) -> dict[str, list[int]]:
            hidden: dict[str, list[int]] = masks.masked(row["input_ids"])
            return hidden

        blocks = packed(splits, self.length, documents)
        examples = {
            name: split if name == "train" else split.map(hide, desc=f"hiding tokens of {name}")
            for name, split in blocks.items()
        }
        for name, split in examples.items():
            if name != "train" and all(label == IGNORED for row in split["labels"] for label in row):
                raise CompressionError(
                    f"task.masked: {self.masked:g} hides no token of the {name} split, which has {len(split)} blocks of"
                    f" {self.length} tokens; take a larger share, or more text"
                )
        return examples

    def collator(self, processor: Any) -> Any:
        """Hides tokens of the training's blocks."""
        return MaskRows(processor, self.masked)

    def refused_training(self, training: Mapping[str, Any], metrics: Sequence[Metric] = ()) -> dict[str, str]:
        """Workers that do not hear of a new epoch, too."""
        refused = super().refused_training(training, metrics)
        if training.get(_PERSISTENT) is True:
            refused[_PERSISTENT] = "true would hide the same tokens in every epoch; leave it out"
        return refused

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
        """Perplexity and nll of the hidden tokens."""
        batches = self.batches(examples, processor, batch_size)
        return perplexity(model, batches, description, shifted=False, metrics=metrics)
