"""A text for a sound, written token after token: Whisper and its kin."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hf_compress._errors import CompressionError, reason_of
from hf_compress.inputs.columns import Column
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.processors import load_feature_extractor, load_saved
from hf_compress.inputs.row_numbers import NUMBER
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from hf_compress.inputs.tokenizers import tokenizer_of
from hf_compress.inputs.wrong_rows import Wrong, refuse_rows
from hf_compress.tasks.audio import AudioTask, longest_heard
from hf_compress.tasks.generating import Generating
from hf_compress.tasks.heads import SPEECH_SEQ2SEQ, Head
from hf_compress.tasks.metrics.builtin.cer import CharacterErrorRate
from hf_compress.tasks.metrics.builtin.wer import WordErrorRate
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.padding import PadSounds
from hf_compress.tasks.task import Splits

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

_START = "<|startoftranscript|>"
"""Whisper's tokenizer writes it, and so does the model by itself."""


@dataclass(frozen=True, kw_only=True)
class SpeechSeq2Seq(Generating, AudioTask, name="speech_seq2seq"):
    """Sounds with a text that a model is to write for each.

    Attributes:
        audio: the column with sound.
        target: the column with what is to be written: a text, or a list of texts that are each right, of which the first
            is trained on.
        target_length: tokens of a target at most, and of what is generated.
        language: of the sounds, for Whispers of several languages ("english", "de").
        task: what such a Whisper does: `transcribe`, or `translate` into English.
        num_beams: of the search in evaluations; None = as the model's own settings say.
    """

    head: ClassVar[Head] = SPEECH_SEQ2SEQ
    processor_class: ClassVar[str] = "AutoProcessor"

    target: str = "text"
    language: str | None = None
    task: Literal["transcribe", "translate"] | None = None

    def default_metrics(self) -> tuple[Metric, ...]:
        """Errors in words and in characters."""
        return (WordErrorRate(), CharacterErrorRate())

    def columns(self) -> tuple[Column, ...]:
        """Sounds and targets."""
        return (*super().columns(), self.target_column)

    # The model.

    def load_processor(self, model: str | FreshModel, config: "PretrainedConfig", splits: Splits) -> Any:
        """The model's feature extractor and tokenizer; refuses a Whisper of English for other languages."""
        from transformers import AutoProcessor, GenerationConfig

        assert isinstance(model, str), model  # fresh weights without a tokenizer are refused before
        settings = None
        with contextlib.suppress(CompressionError):  # older checkpoints have none
            settings = from_pretrained(GenerationConfig, model, "model")
        if self._languages() and not getattr(settings, "is_multilingual", True):
            raise CompressionError(
                f"task.{next(iter(self._languages()))}: {model} knows English alone; leave out language and task"
            )
        return load_saved(AutoProcessor, model, "processor")

    def with_tokenizer(self, tokenizer: Any, model: str | FreshModel, config: "PretrainedConfig") -> Any:
        """The architecture's processor, of the model's feature extractor and a tokenizer."""
        from transformers import PROCESSOR_MAPPING

        cls: Any = PROCESSOR_MAPPING.get(type(config), None)
        extractor = load_feature_extractor(model, config)
        if cls is None:
            raise CompressionError(f"model: {config.model_type} has no processor of sound and text; name a Whisper model")
        try:
            return cls(feature_extractor=extractor, tokenizer=tokenizer)
        except (TypeError, ValueError) as error:
            raise CompressionError(
                f"tokenizer: {type(tokenizer).__name__} fits no {cls.__name__}: {reason_of(error)}"
            ) from error

    def _languages(self) -> dict[str, str]:
        """The options that only Whispers of several languages take."""
        return {key: value for key in ("language", "task") if (value := getattr(self, key)) is not None}

    def finish_processor(self, processor: Any, fresh: bool) -> None:
        """Tell Whisper's tokenizer language and task; refuse them for one that knows none."""
        tokenizer, given = tokenizer_of(processor), self._languages()
        if given and (not hasattr(tokenizer, "set_prefix_tokens") or _START not in tokenizer.get_vocab()):
            raise CompressionError(
                f"task.{next(iter(given))}: {type(tokenizer).__name__} knows no languages; leave out {' and '.join(given)}"
            )
        try:
            if given:
                tokenizer.set_prefix_tokens(**given)
                tokenizer("")
        except ValueError as error:
            raise CompressionError(f"task.language: {reason_of(error)}") from error

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """Fresh weights suppress no token: those that Whisper's config names are of another vocabulary."""
        changes = super().config_changes(model, config, processor, tokenizer)
        lists = ("suppress_tokens", "begin_suppress_tokens")
        return {**changes, **{name: None for name in lists if changes and getattr(config, name, None) is not None}}

    def finish_model(self, model: "PreTrainedModel", processor: Any) -> None:
        """It writes in the language of the targets, in evaluations and where it is published."""
        super().finish_model(model, processor)
        for key, value in self._languages().items():
            setattr(model.generation_config, key, value)

    # The data.

    def describe(self, splits: Splits, processor: Any) -> dict[str, str]:
        """How long the sounds are; nothing where the tokenizer is yet to be trained."""
        return {} if processor is None else super().describe(splits, processor)

    def fit_rows(self, splits: Splits, model: "PreTrainedModel", processor: Any) -> Splits:
        """As they are; refuses sounds that are longer than the model hears, because their texts are about more."""
        fresh = FreshModel(config={"model_type": model.config.model_type})
        limit = longest_heard(load_feature_extractor(fresh, model.config) if processor is None else processor)
        if limit is not None:
            refuse_rows(splits, "task.audio", lambda split: self._longer(split, limit))
        return splits

    def _longer(self, split: "Dataset", limit: float) -> Iterator[Wrong]:
        way_out = f"the model hears {limit:g} s, and the text would be about more; cut both, or remove the row"
        for row, header in enumerate(self.headers(split)):
            if header.seconds > limit:
                yield Wrong(position=row, says=f"has {header.seconds:.2f} s of sound", way_out=way_out)

    def begins_by_itself(self, tokenizer: Any) -> int | None:
        """Whisper's start."""
        start: int | None = tokenizer.get_vocab().get(_START)
        return start

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """Token ids of targets, and what the feature extractor makes of sounds, computed when a batch is read."""
        from datasets import concatenate_datasets

        extractor, tokenizer = processor.feature_extractor, processor.tokenizer
        transform = partial(self._read, extractor=extractor, pad=self.padding(splits, extractor))
        encode = partial(self.encode_targets, tokenizer=tokenizer)
        made = {}
        for name, split in self.undecoded(splits).items():
            targets = split.select_columns([self.target]).map(
                encode, batched=True, with_indices=True, remove_columns=[self.target], desc=f"tokenizing {name}"
            )
            sounds = split.select_columns([self.audio, *({NUMBER} & set(split.column_names))])
            made[name] = concatenate_datasets([sounds, targets], axis=1)
        return self.late(made, transform)

    def _read(self, batch: dict[str, list[Any]], extractor: Any, pad: PadSounds) -> dict[str, Any]:
        return {**self.hear(batch[self.audio], extractor, pad), "labels": batch["labels"]}

    def collator(self, processor: Any) -> Any:
        """Pads to the longest sound and the longest target of a batch."""
        return PadSounds(processor.feature_extractor)
