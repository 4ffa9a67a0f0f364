"""The next token of a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import check_all
from hf_compress.tasks.heads import CAUSAL_LM, Head
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import TextTask

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class CausalLM(TextTask, name="causal_lm"):
    """Documents, cut into blocks; every token is predicted from those before it.

    Attributes:
        text: the column with documents.
        length: tokens per block.
    """

    head: ClassVar[Head] = CAUSAL_LM
    metric: ClassVar[str] = "perplexity"
    greater_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < 2:
            raise CompressionError(
                f"length={self.length} is too short: the first token of a block predicts the second; write 2 or more"
            )

    @property
    def unit(self) -> str:
        """Blocks."""
        return f"blocks of {self.length} tokens"

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Documents with an end token between them, cut into blocks of `length` tokens; the last, shorter one is dropped.

        Where the tokenizer puts a token for the beginning before every text by itself (Gemma, Llama), each document begins
        with it here too. It is no label: nothing ever has to predict it, and perplexity stays that of the text.
        """
        end = processor.eos_token_id if processor.eos_token_id is not None else processor.pad_token_id
        begin = _beginning(processor)

        def pack(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            ids: list[int] = []
            labels: list[int] = []
            for tokens in processor(batch[self.text], add_special_tokens=False, verbose=False)["input_ids"]:
                before = [] if tokens[: len(begin)] == begin else begin  # the text may have brought its own
                ids += [*before, *tokens, end]
                labels += [*[-100] * len(before), *tokens, end]
            starts = range(0, len(ids) - self.length + 1, self.length)
            return {
                "input_ids": [ids[start : start + self.length] for start in starts],
                "labels": [labels[start : start + self.length] for start in starts],
            }

        packed = {
            name: split.map(
                pack, batched=True, batch_size=1000, remove_columns=split.column_names, desc=f"tokenizing {name}"
            )
            for name, split in splits.items()
        }
        for name, split in packed.items():
            if len(split) == 0:
                raise CompressionError(
                    f"task.length: the {name} split has fewer than {self.length} tokens; choose a shorter length or add"
                    " text"
                )
        return packed

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse encoders, too."""
        check_all(lambda: _refuse_encoder(config), lambda: super(CausalLM, self).check_config(config, processor))

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
        """Perplexity and nll."""
        from hf_compress.tasks.metrics.perplexity import perplexity

        return perplexity(model, self.batches(examples, processor, batch_size), description)


def _beginning(tokenizer: Any) -> list[int]:
    """The token that the tokenizer itself puts before every text; [] where it puts none."""
    first = tokenizer("", verbose=False)["input_ids"][:1]
    return first if first == [tokenizer.bos_token_id] else []


def _refuse_encoder(config: "PretrainedConfig") -> None:
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    if getattr(config, "is_decoder", None) is False and type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        raise CompressionError(
            f"model: {config.model_type} is an encoder that sees the tokens it should predict; name a causal model, or"
            " set is_decoder: true in its config"
        )
