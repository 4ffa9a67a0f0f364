"""What tasks on sound share: a column of sound, a feature extractor, its sampling rate."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy

from hf_compress._errors import CompressionError
from hf_compress.inputs.audio import Sound, read_audio, read_header, undecoded
from hf_compress.inputs.columns import Column
from hf_compress.inputs.processors import load_feature_extractor
from hf_compress.inputs.row_checks import RowCheck
from hf_compress.inputs.sections import FreshModel
from hf_compress.inputs.wrong_rows import Wrong
from hf_compress.tasks.padding import PadSounds
from hf_compress.tasks.read_late import ReadsLate
from hf_compress.tasks.task import Splits

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


@dataclass(frozen=True, kw_only=True)
class AudioTask(ReadsLate):
    """A task whose models hear sound, one channel at the rate of their feature extractor.

    Attributes:
        audio: the column with sound: `datasets.Audio`, paths, bytes, {bytes, path} or {array, sampling_rate}.
    """

    processor_class: ClassVar[str] = "AutoFeatureExtractor"
    inputs: ClassVar[str] = "sounds"

    audio: str = "audio"

    def columns(self) -> tuple[Column, ...]:
        """Sound."""
        from datasets import Audio

        return (Column(key="audio", name=self.audio, feature=Audio()),)

    def row_checks(self) -> tuple[RowCheck, ...]:
        """Sound that cannot be read; the header of every row is."""
        return (*super().row_checks(), RowCheck(key="audio", find=self._no_sounds))

    def _no_sounds(self, split: "Dataset") -> Iterator[Wrong]:
        for row, value in enumerate(undecoded(split, self.audio).select_columns([self.audio])):
            try:
                if not read_header(value[self.audio]).num_samples:
                    raise CompressionError("is empty; remove it")
            except CompressionError as error:
                says, _, way_out = str(error).partition("; ")
                yield Wrong(position=row, says=says, way_out=way_out or "remove it, or mend the file")

    def undecoded(self, splits: Splits) -> Splits:
        """The splits with sound as `sounds` takes it, which needs no decoder of `datasets`."""
        return {name: undecoded(split, self.audio) for name, split in splits.items()}

    def sounds(self, values: Iterable[Any], rate: int) -> list[numpy.ndarray]:
        """The samples of some rows, each (N,) fp32 at `rate`."""
        return [read_audio(value, rate) for value in values]

    def headers(self, split: "Dataset") -> list[Sound]:
        """Of every row of a split that `check_data` found nothing wrong with."""
        rows = undecoded(split, self.audio).select_columns([self.audio])
        return [read_header(row[self.audio]) for row in rows]

    def padding(self, splits: Splits, extractor: Any, seconds: float = math.inf, number: int = 0) -> PadSounds:
        """To the longest sound of a batch; where the model is not told where a sound ends, to the longest of all.

        Args:
            splits: raw rows.
            extractor: the model's.
            seconds: that are heard of a sound at most.
            number: of an extractor inside an ensemble's.
        """
        if getattr(extractor, "return_attention_mask", True) or longest_heard(extractor) is not None:
            return PadSounds(extractor, number=number)
        longest = max(one.seconds for split in splits.values() for one in self.headers(split))
        return PadSounds(extractor, round(sampling_rate(extractor) * min(longest, seconds)), number)

    def hear(self, values: Iterable[Any], extractor: Any, pad: PadSounds, cut: int | None = None) -> dict[str, list[Any]]:
        """What the feature extractor makes of some rows.

        Args:
            values: of the column.
            extractor: the model's.
            pad: see `padding`.
            cut: samples that are heard at most.
        """
        rate = sampling_rate(extractor)
        heard = [extractor(sound[:cut], sampling_rate=rate) for sound in self.sounds(values, rate)]
        rows = [pad.row({name: values[0] for name, values in one.items()}) for one in heard]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def describe(self, splits: Splits, processor: Any) -> dict[str, str]:
        """How long the sounds are, and at which rate."""
        headers = self.headers(splits["train"])
        seconds = sorted(header.seconds for header in headers)
        rates = sorted({header.rate for header in headers})
        given = " to ".join(f"{rate:,}" for rate in dict.fromkeys((rates[0], rates[-1])))
        rate = sampling_rate(processor)
        made = "" if rates == [rate] else f", made {rate:,} Hz"
        return {"sound": f"{seconds[0]:.1f} to {seconds[-1]:.1f} s, {sum(seconds) / 60:.1f} min in all, {given} Hz{made}"}

    def load_processor(self, model: str | FreshModel, config: "PretrainedConfig", splits: Splits) -> Any:
        """The model's feature extractor, or the architecture's."""
        return load_feature_extractor(model, config)


def sampling_rate(processor: Any) -> int:
    """Samples per second that a feature extractor, or the one inside a processor, takes."""
    return int(getattr(processor, "feature_extractor", processor).sampling_rate)


def longest_heard(processor: Any) -> float | None:
    """Seconds that a feature extractor cuts or fills every sound to; None where it takes any length."""
    extractor = getattr(processor, "feature_extractor", processor)
    num_samples = getattr(extractor, "n_samples", None)  # Whisper and its kin
    if num_samples is not None:
        return float(num_samples / extractor.sampling_rate)
    num_frames = getattr(extractor, "max_length", None)  # AST's, of 10 ms
    return None if num_frames is None else num_frames / 100
