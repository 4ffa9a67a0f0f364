"""What tasks on tokens share: a length, a tokenizer; and those on text: a column of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.inputs.columns import Column
from hf_compress.inputs.fresh import END_OF_TEXT_ID
from hf_compress.inputs.models import num_positions
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from hf_compress.inputs.tokenizers import load_tokenizer, tokenizer_of
from hf_compress.tasks.task import Splits, Task, check_count

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

_SPECIAL = ("bos", "eos", "pad")


@dataclass(frozen=True, kw_only=True)
class VocabularyTask(Task):
    """A task whose models read or write the tokens of a tokenizer, which is alone or inside their processor."""

    processor_class: ClassVar[str] = "AutoTokenizer"
    takes_tokenizer: ClassVar[bool] = True

    @property
    def decided(self) -> tuple[str, ...]:
        """The vocabulary is the tokenizer's."""
        return ("vocab_size", *(f"{kind}_token_id" for kind in _SPECIAL), *super().decided)

    def load_processor(self, model: str | FreshModel, config: "PretrainedConfig", splits: Splits) -> Any:
        """The model's tokenizer."""
        assert isinstance(model, str), model  # fresh weights without a tokenizer are refused before
        return load_tokenizer(model)

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """The vocabulary of fresh weights."""
        if not isinstance(model, FreshModel):
            return {}
        if processor is not None:
            own = tokenizer_of(processor)
            ids = {f"{kind}_token_id": getattr(own, f"{kind}_token_id") for kind in _SPECIAL}
            return {"vocab_size": len(own), **ids}
        if isinstance(tokenizer, FreshTokenizer):
            return {"vocab_size": tokenizer.vocab_size, **{f"{kind}_token_id": END_OF_TEXT_ID for kind in _SPECIAL}}
        return {}  # the tokenizer was refused

    def check_config(self, config: "PretrainedConfig", processor: Any) -> None:
        """Refuse a tokenizer that has more entries than the model."""
        size = getattr(config.get_text_config(), "vocab_size", None)
        own = tokenizer_of(processor)
        if own is not None and size is not None and len(own) > size:
            raise CompressionError(
                f"tokenizer: it has {len(own)} entries and the model only {size}; take the model's own tokenizer"
            )


@dataclass(frozen=True, kw_only=True)
class TokenTask(VocabularyTask):
    """A task whose models read tokens, of one sequence.

    Attributes:
        length: tokens per example at most.
    """

    token_columns: ClassVar[tuple[str, ...]] = ("input_ids",)

    length: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.length, "length")

    def check_model(self, model: "PreTrainedModel") -> None:
        """Refuse texts longer than the model's positions."""
        limit = num_positions(model)
        if limit is not None and self.length > limit:
            raise CompressionError(f"task.length: {self.length} tokens are more than the model's {limit} positions")


def require_places(processor: Any, needed_by: str) -> None:
    """Refuse a tokenizer that does not say where in a text a token stands.

    Raises:
        CompressionError: naming it.
    """
    if processor is not None and not processor.is_fast:
        raise CompressionError(
            f"tokenizer: {type(processor).__name__} does not say where in a text a token stands, which {needed_by} need;"
            " name a fast tokenizer"
        )


@dataclass(frozen=True, kw_only=True)
class TextTask(TokenTask):
    """A task that reads one text per row.

    Attributes:
        text: the column with text.
        length: tokens per example at most.
    """

    text: str = "text"

    def columns(self) -> tuple[Column, ...]:
        """Text."""
        from datasets import Value

        return (Column(key="text", name=self.text, feature=Value("string")),)

    def texts(self, split: "Dataset") -> Iterable[str]:
        """The column."""
        return split[self.text]
