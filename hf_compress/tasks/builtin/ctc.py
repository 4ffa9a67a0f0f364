"""A text for a sound, character by character."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress._problems import check_all
from hf_compress.inputs.columns import Column
from hf_compress.inputs.processors import load_feature_extractor, load_saved
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.sections import FreshModel, FreshTokenizer
from hf_compress.inputs.spelling import character_tokenizer
from hf_compress.inputs.wrong_rows import Wrong, empty_rows, refuse_rows
from hf_compress.tasks.audio import AudioTask, sampling_rate
from hf_compress.tasks.frames import check_frames, check_masks, num_frames
from hf_compress.tasks.heads import CTC, Head
from hf_compress.tasks.metrics.builtin.cer import CharacterErrorRate
from hf_compress.tasks.metrics.builtin.wer import WordErrorRate
from hf_compress.tasks.metrics.counted import Counted, first
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import Predictions
from hf_compress.tasks.padding import PadSounds
from hf_compress.tasks.task import Splits

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

_FRAMES = "frames_of_the_sound"
"""The column of the raw rows with what only the model knows: how many frames count."""
_FOREIGN = 0.2
"""With so many characters that the model cannot spell, the texts are written in another way than it spells."""


@dataclass(frozen=True, kw_only=True)
class Ctc(AudioTask, name="ctc"):
    """Sounds with a text each, spelled by connectionist temporal classification.

    A trained model spells as its processor does. A model with a new head gets a processor whose vocabulary are the
    characters of the training texts, with the blank as the id 0, and the mean as its `ctc_loss_reduction`. What is written
    down is the most likely character of every frame of a sound, repeated ones once, without blanks.

    Attributes:
        audio: the column with sound.
        text: the column with what is said.
    """

    head: ClassVar[Head] = CTC
    processor_class: ClassVar[str] = "AutoProcessor"
    predicts: ClassVar[Predictions | None] = "texts"

    text: str = "text"

    @property
    def decided(self) -> tuple[str, ...]:
        """The vocabulary is that of the texts."""
        return (*super().decided, "vocab_size", "pad_token_id")

    def default_metrics(self) -> tuple[Metric, ...]:
        """Errors in words and in characters."""
        return (WordErrorRate(), CharacterErrorRate())

    def columns(self) -> tuple[Column, ...]:
        """Sound and text."""
        from datasets import Value

        return (*super().columns(), Column(key="text", name=self.text, feature=Value("string")))

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Empty texts, too."""
        return (*super().row_checks(), RowCheck(key="text", find=lambda split: empty_rows(split[self.text], "text")))

    def load_processor(self, model: str | FreshModel, config: "PretrainedConfig", splits: Splits) -> Any:
        """The model's own; for a new head its feature extractor with the characters of the training texts."""
        from transformers import AutoProcessor, Wav2Vec2Processor

        if not _has_new_head(model, config):
            return load_saved(AutoProcessor, str(model), "processor")
        if not splits or self.text not in splits["train"].column_names:
            return None
        tokenizer = character_tokenizer(splits["train"][self.text])
        return Wav2Vec2Processor(feature_extractor=load_feature_extractor(model, config), tokenizer=tokenizer)

    def config_changes(
        self, model: str | FreshModel, config: "PretrainedConfig", processor: Any, tokenizer: str | FreshTokenizer | None
    ) -> dict[str, Any]:
        """Vocabulary and blank of a new head, and a loss that does not grow with the batch unless the recipe says so."""
        if processor is None or not _has_new_head(model, config):
            return {}
        said = isinstance(model, FreshModel) and "ctc_loss_reduction" in model.config
        spelled = {"vocab_size": len(processor.tokenizer), "pad_token_id": processor.tokenizer.pad_token_id}
        return spelled if said else {**spelled, "ctc_loss_reduction": "mean"}

    def fit_rows(self, splits: Splits, model: Any, processor: Any) -> Splits:
        """How many frames each sound becomes; refuses a text that is longer, and one in other letters than the model's."""
        made: Splits = {}
        rate = sampling_rate(processor)
        for name, split in splits.items():
            samples = [-(-one.num_samples * rate // one.rate) for one in self.headers(split)]
            if not made:
                check_frames(model, samples[0])
            made[name] = split.add_column(_FRAMES, [num_frames(count, model.config) for count in samples])
        find = partial(self._too_short, tokenizer=processor.tokenizer, config=model.config)
        check_all(
            lambda: self._check_letters(splits["train"], processor.tokenizer),
            lambda: refuse_rows(made, "task.text", find),
            lambda: refuse_rows(made, "task.text", partial(self._delimited, tokenizer=processor.tokenizer)),
        )
        check_masks(model.config, min(min(split[_FRAMES]) for split in made.values()))
        return made

    def _delimited(self, split: "Dataset", tokenizer: Any) -> Iterator[Wrong]:
        delimiter = getattr(tokenizer, "word_delimiter_token", None)
        for row, text in enumerate(split[self.text]):
            if delimiter and delimiter in text:
                says = f"has a {delimiter!r}, which the model writes for the space between words"
                yield Wrong(position=row, says=says, way_out="write spaces between words, and no other such sign")

    def _too_short(self, split: "Dataset", tokenizer: Any, config: Any) -> Iterator[Wrong]:
        way_out = "remove it, or set ctc_zero_infinity in the model's config"
        for row, (text, frames) in enumerate(zip(split[self.text], split[_FRAMES], strict=True)):
            needed = _least_frames(tokenizer(text).input_ids)
            if frames < (1 if getattr(config, "ctc_zero_infinity", False) else needed):
                says = f"needs {needed} frames to be spelled, and its sound becomes {frames}"
                yield Wrong(position=row, says=says, way_out=way_out)

    def _check_letters(self, split: "Dataset", tokenizer: Any) -> None:
        ids = [(text, tokenizer(text).input_ids) for text in split[self.text]]
        total = sum(len(spelled) for _, spelled in ids)
        unknown = sum(spelled.count(tokenizer.unk_token_id) for _, spelled in ids)
        if unknown > _FOREIGN * total:
            letters = "".join(sorted(one for one in tokenizer.get_vocab() if len(one) == 1 and one.isalnum()))
            raise CompressionError(
                f"task.text: {unknown / total:.0%} of the characters are none of the model's ({letters[:60]}); write the"
                " texts as it spells, e.g. in capitals"
            )

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """What the feature extractor makes of sounds and the ids of characters, computed when a batch is read."""
        pad = self.padding(splits, processor.feature_extractor)
        transform = partial(self._read, processor=processor, pad=pad)
        return self.late(self.undecoded(splits), transform)

    def _read(self, batch: dict[str, list[Any]], processor: Any, pad: PadSounds) -> dict[str, Any]:
        heard = self.hear(batch[self.audio], processor.feature_extractor, pad)
        return {**heard, "labels": processor.tokenizer(batch[self.text]).input_ids}

    def collator(self, processor: Any) -> Any:
        """Pads to the longest sound and the longest text of a batch."""
        return PadSounds(processor.feature_extractor)

    def preprocess_logits(self) -> Any:
        """The likeliest character of every frame."""
        return _likeliest

    def compute_metrics(self, examples: "Dataset", rows: "Dataset", processor: Any, metrics: Sequence[Metric] = ()) -> Any:
        """The metrics of what is written down."""
        frames, texts, tokenizer = rows[_FRAMES][:], rows[self.text][:], processor.tokenizer

        def decode(ids: Any, labels: Any) -> tuple[list[str], list[str]]:
            begin = len(counted.predictions)  # rows come in their order
            places = range(begin, begin + len(ids))
            heard = [tokenizer.decode(row[: frames[place]]) for row, place in zip(ids, places, strict=True)]
            return heard, [" ".join(texts[place].split()) for place in places]

        counted = Counted(self.all_metrics(metrics), decode)
        return counted


def _has_new_head(model: str | FreshModel, config: "PretrainedConfig") -> bool:
    return isinstance(model, FreshModel) or not any(
        name.endswith(CTC.name) for name in getattr(config, "architectures", None) or ()
    )


def _least_frames(ids: Sequence[int]) -> int:
    """A frame for every character, and a blank between equal ones."""
    return len(ids) + sum(one == other for one, other in itertools.pairwise(ids))


def _likeliest(logits: Any, labels: Any) -> Any:
    return first(logits).argmax(-1)
