"""One label for a sound."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from hf_compress._errors import CompressionError
from hf_compress.inputs.labels import label_ids
from hf_compress.tasks.audio import AudioTask, longest_heard, sampling_rate
from hf_compress.tasks.cut import listed
from hf_compress.tasks.frames import check_masks, num_frames
from hf_compress.tasks.heads import AUDIO_CLASSIFICATION, Head
from hf_compress.tasks.one_label import OneLabel
from hf_compress.tasks.padding import PadSounds, extractors_in, least_samples
from hf_compress.tasks.task import Splits

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class AudioClassification(OneLabel, AudioTask, name="audio_classification"):
    """Sounds, of which the first `max_seconds` are heard, with one label each.

    Models that are told where a sound ends (an attention mask) get batches padded to their longest sound. For models that
    are not (wav2vec2-base), silence follows every sound up to the longest of all, because what they hear would otherwise
    depend on what stands beside it in a batch.

    Attributes:
        audio: the column with sound.
        label: the column with labels.
        classes: the names of the labels in the order of their ids; by default as the data has them.
        max_seconds: what is heard of a sound at most; None = all that the model takes.
    """

    head: ClassVar[Head] = AUDIO_CLASSIFICATION

    max_seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise CompressionError(f"max_seconds={self.max_seconds} must be more than 0")

    def _limit(self, processor: Any) -> float:
        """Seconds that are heard of a sound at most."""
        limits = (self.max_seconds, longest_heard(processor))
        return min((one for one in limits if one is not None), default=math.inf)

    def describe(self, splits: Splits, processor: Any) -> dict[str, str]:
        """Also how many sounds are cut."""
        facts = super().describe(splits, processor)
        for limit in sorted({self._limit(extractor) for extractor in extractors_in(processor)} - {math.inf}):
            cut = {
                name: (sum(one.seconds > limit for one in self.headers(split)), len(split))
                for name, split in splits.items()
            }
            facts |= {f"sounds cut at {limit:g} s": listed(cut, "rows")}
        return facts

    def fit_rows(self, splits: Splits, model: "PreTrainedModel", processor: Any) -> Splits:
        """As they are; refuses masks in time that are longer than a sound."""
        if hasattr(model.config, "conv_kernel"):
            rate = sampling_rate(processor)
            shortest = round(rate * min(one.seconds for one in self.headers(splits["train"])))
            check_masks(model.config, num_frames(max(shortest, least_samples(rate)), model.config))
        return splits

    def examples(self, splits: Splits, processor: Any, labels: list[str]) -> Splits:
        """What the feature extractor makes of sounds, and labels, computed when a batch is read."""
        heard = []
        for number, extractor in enumerate(extractors_in(processor)):
            limit = self._limit(extractor)
            cut = None if math.isinf(limit) else round(sampling_rate(extractor) * limit)
            heard.append((extractor, self.padding(splits, extractor, limit, number), cut))
        transform = partial(self._hear, heard=heard, ids=label_ids(splits, self.label, labels, self.classes))
        return self.late(self.undecoded(splits), transform)

    def _hear(
        self,
        batch: Mapping[str, Sequence[Any]],
        heard: Sequence[tuple[Any, PadSounds, int | None]],
        ids: Mapping[Any, int],
    ) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for extractor, pad, cut in heard:
            made |= self.hear(batch[self.audio], extractor, pad, cut)
        return {**made, "labels": [ids[value] for value in batch[self.label]]}

    def collator(self, processor: Any) -> Any:
        """Pads to the longest sound of a batch."""
        return PadSounds(processor)
