"""A text for a text: translations, summaries."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import check_all
from hf_compress.inputs.columns import Column
from hf_compress.inputs.models import num_positions
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.streams import mapped
from hf_compress.inputs.wrong_rows import empty_rows
from hf_compress.tasks.cut import encode_cut, how_many
from hf_compress.tasks.generating import Generating, check_length
from hf_compress.tasks.heads import SEQ2SEQ_LM, Head
from hf_compress.tasks.metrics.builtin.bleu import Bleu
from hf_compress.tasks.metrics.builtin.chrf import ChrF
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.padding import PadPairs
from hf_compress.tasks.task import Splits, check_count

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

_CUT = "source_cut"
"""The column of the examples that says whether `source_length` cut the source."""
_INPUTS = ("input_ids", "attention_mask")


@dataclass(frozen=True, kw_only=True)
class Seq2Seq(Generating, name="seq2seq"):
    """Texts with a text that a model is to write for each.

    Attributes:
        source: the column with texts.
        target: the column with what is to be written: a text, or a list of texts that are each right, of which the first
            is trained on.
        source_length: tokens that are read of a text.
        target_length: tokens of a target at most, and of what is generated.
        prefix: stands before every source; T5 is told so what to do ("translate English to German: ").
        src_lang: the sources' language, as a tokenizer of several languages (mBART, NLLB, M2M100) names it.
        tgt_lang: the targets' language, with whose token the model begins to write.
        num_beams: of the search in evaluations; None = as the model's own settings say.
    """

    head: ClassVar[Head] = SEQ2SEQ_LM
    streams: ClassVar[bool] = True
    token_columns: ClassVar[tuple[str, ...]] = ("input_ids", "labels")

    source: str = "source"
    source_length: int = 512
    prefix: str = ""
    src_lang: str | None = None
    tgt_lang: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count(self.source_length, "source_length")

    def default_metrics(self) -> tuple[Metric, ...]:
        """BLEU and chrF."""
        return (Bleu(), ChrF())

    def columns(self) -> tuple[Column, ...]:
        """Sources and targets."""
        from datasets import Value

        return (Column(key="source", name=self.source, feature=Value("string")), self.target_column)

    def texts(self, split: "Dataset") -> Iterable[str]:
        """Sources and targets."""
        yield from split[self.source]
        yield from super().texts(split)

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Empty sources, too."""
        sources = RowCheck(key="source", find=lambda split: empty_rows(split[self.source], "source"))
        return (sources, *super().row_checks())

    def finish_processor(self, processor: Any, fresh: bool) -> None:
        """Tell a tokenizer of several languages which two; refuse languages for one that knows none."""
        given = {"src_lang": self.src_lang, "tgt_lang": self.tgt_lang}
        if not hasattr(processor, "src_lang"):
            named = [key for key, language in given.items() if language is not None]
            if named:
                raise CompressionError(
                    f"task.{named[0]}: {type(processor).__name__} knows no languages; leave out {' and '.join(named)}"
                )
            return
        for key, language in given.items():
            if language is not None:
                if language_id(processor, language) is None:
                    raise CompressionError(f"task.{key}: {type(processor).__name__} knows no language {language!r}")
                setattr(processor, key, language)
            elif key == "tgt_lang" and processor.tgt_lang is None:
                raise CompressionError(
                    f"task.tgt_lang: {type(processor).__name__} knows several languages; name that of the targets"
                )

    def finish_model(self, model: "PreTrainedModel", processor: Any) -> None:
        """It begins to write with the token of the targets' language, as the tokenizer's targets do."""
        super().finish_model(model, processor)
        language = None if self.tgt_lang is None else language_id(processor, self.tgt_lang)
        if language is not None:
            begins = processor(text_target="a")["input_ids"][0] == language
            setattr(model.generation_config, "forced_bos_token_id" if begins else "decoder_start_token_id", language)

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Token ids of sources and targets."""

        def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, list[Any]]:
            sources = [self.prefix + text for text in batch[self.source]]
            encoded, cut = encode_cut(processor, self.source_length, text=sources)
            inputs = {name: encoded[name] for name in _INPUTS}
            return {**inputs, _CUT: cut, **self.encode_targets(batch, numbers, processor)}

        return {name: mapped(split, encode, name, with_indices=True) for name, split in splits.items()}

    def describe_examples(self, splits: Splits, examples: Splits) -> dict[str, str]:
        """How many sources and targets are cut."""
        facts = {f"sources cut at {self.source_length} tokens": how_many(_CUT, examples)}
        return facts | super().describe_examples(splits, examples)

    def collator(self, processor: Any) -> Any:
        """Pads sources and targets to the longest of a batch."""
        return PadPairs(processor)

    def check_model(self, model: "PreTrainedModel") -> None:
        """Refuse sources that are longer than the encoder's positions, too."""
        limit = getattr(model.config, "max_encoder_position_embeddings", None) or num_positions(model)
        check_all(
            lambda: super(Seq2Seq, self).check_model(model),
            lambda: check_length(self.source_length, "source_length", limit),
        )


def language_id(tokenizer: Any, language: str) -> int | None:
    """The token of a language; None where the tokenizer does not know it."""
    names: Sequence[str] = (language, f"__{language}__")  # the second in M2M100
    vocabulary = tokenizer.get_vocab()
    return next((vocabulary[name] for name in names if name in vocabulary), None)
