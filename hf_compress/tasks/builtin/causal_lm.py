"""The next token of a text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress.tasks.blocks import packed
from hf_compress.tasks.next_token import NextToken
from hf_compress.tasks.task import Splits
from hf_compress.tasks.text import TextTask

if TYPE_CHECKING:
    from datasets import Dataset

_AT_ONCE = 1000
"""Documents that are encoded together."""


@dataclass(frozen=True, kw_only=True)
class CausalLM(NextToken, TextTask, name="causal_lm"):
    """Documents, cut into blocks; every token is predicted from those before it.

    Attributes:
        text: the column with documents.
        length: tokens per block.
    """

    streams: ClassVar[bool] = True

    @property
    def unit(self) -> str:
        """Blocks."""
        return f"blocks of {self.length} tokens"

    def documents(self, rows: "Dataset") -> Sequence[str]:
        """The column."""
        return rows[self.text][:]

    def likelihood_tokens(self, rows: "Dataset", processor: Any) -> int:
        """Those of all documents, with the end of each: blocks drop the last ones."""
        total, documents = 0, self.documents(rows)
        for start in range(0, len(documents), _AT_ONCE):
            some = list(documents[start : start + _AT_ONCE])
            total += sum(len(ids) + 1 for ids in processor(some, add_special_tokens=False, verbose=False)["input_ids"])
        return total

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Documents with an end token between them, cut into blocks of `length` tokens; the last, shorter one is dropped.

        Where the tokenizer puts a token for the beginning before every text by itself (Gemma, Llama), each document begins
        with it here too. It is no label: nothing ever has to predict it, and perplexity stays that of the text.
        """
        end = processor.eos_token_id if processor.eos_token_id is not None else processor.pad_token_id
        begin = _beginning(processor)

        def documents(batch: Mapping[str, list[Any]]) -> Mapping[str, list[int]]:
            ids: list[int] = []
            labels: list[int] = []
            for tokens in processor(batch[self.text], add_special_tokens=False, verbose=False)["input_ids"]:
                before = [] if tokens[: len(begin)] == begin else begin  # the text may have brought its own
                ids += [*before, *tokens, end]
                labels += [*[-100] * len(before), *tokens, end]
            return {"input_ids": ids, "labels": labels}

        return packed(splits, self.length, documents)


def _beginning(tokenizer: Any) -> list[int]:
    """The token that the tokenizer itself puts before every text; [] where it puts none."""
    first = tokenizer("", verbose=False)["input_ids"][:1]
    return first if first == [tokenizer.bos_token_id] else []
