"""Image processors and feature extractors of several members as one, whose settings are those of each."""

import json
from collections.abc import Sequence
from typing import Any, ClassVar

import transformers
from transformers import BaseImageProcessor, BatchFeature, SequenceFeatureExtractor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.inputs import numbered, split_inputs


class _Several:
    """What image processors and feature extractors of several members share."""

    processors: list[dict[str, Any]]

    loader: ClassVar[str]

    @property
    def each(self) -> list[Any]:
        """The processors, in the order of their numbers."""
        if not hasattr(self, "_made"):
            self._made = [_from_plain(self.loader, plain) for plain in self.processors]
        return self._made

    def _prepare(self, inputs: tuple[Any, ...], options: dict[str, Any]) -> BatchFeature:
        made = BatchFeature()
        for k, processor in enumerate(self.each):
            made.update({numbered(key, k): value for key, value in processor(*inputs, **options).items()})
        return made

    def to_dict(self) -> dict[str, Any]:
        """Without the processors themselves, which are there as plain data."""
        return {key: value for key, value in super().to_dict().items() if key != "_made"}  # type: ignore[misc]


class EnsembleImageProcessor(_Several, BaseImageProcessor):
    """Image processors of several members: `pixel_values` for the first, `pixel_values_1` for the next, and so on."""

    model_input_names = ["pixel_values"]
    loader = "AutoImageProcessor"

    @classmethod
    def of(cls, processors: Sequence[Any]) -> "EnsembleImageProcessor":
        """One of several."""
        return cls(processors=[_plain(one) for one in processors], size=getattr(processors[0], "size", None))  # type: ignore[call-arg]

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:  # type: ignore[override]
        """What all processors make of the same images."""
        return self._prepare((images, *args), kwargs)


class EnsembleFeatureExtractor(_Several, SequenceFeatureExtractor):
    """Feature extractors of several members: `input_values` for the first, `input_values_1` for the next, and so on."""

    model_input_names = ["input_values"]
    loader = "AutoFeatureExtractor"

    @classmethod
    def of(cls, processors: Sequence[Any]) -> "EnsembleFeatureExtractor":
        """One of several.

        Raises:
            CompressionError: they want other sampling rates; one recording cannot have two.
        """
        rates = sorted({one.sampling_rate for one in processors})
        if len(rates) > 1:
            raise CompressionError(
                f"the members read sound at {', '.join(map(str, rates))} Hz, and one recording is handed to all of them;"
                " take members of one rate"
            )
        first = processors[0]
        return cls(
            feature_size=first.feature_size,
            sampling_rate=first.sampling_rate,
            padding_value=first.padding_value,
            processors=[_plain(one) for one in processors],
        )

    def __call__(self, raw_speech: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """What all extractors make of the same recordings."""
        return self._prepare((raw_speech, *args), kwargs)

    def pad(self, processed_features: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """Each extractor pads what it made.

        Raises:
            CompressionError: what one of them made is not there.
        """
        several = isinstance(processed_features, list | tuple)
        rows = [dict(row) for row in (processed_features if several else [processed_features])]
        split = [split_inputs(row, set(range(len(self.each)))) for row in rows]
        made = BatchFeature()
        for k, extractor in enumerate(self.each):
            own = [row[k] for row in split]
            if not all(own):
                raise CompressionError(
                    f"the rows lack {numbered(extractor.model_input_names[0], k)}, which its feature extractor {k} makes; a"
                    " Trainer drops it unless TrainingArguments say remove_unused_columns=False"
                )
            padded = extractor.pad(own if several else own[0], *args, **kwargs)
            made.update({numbered(key, k): value for key, value in padded.items()})
        return made


def _plain(processor: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(processor.to_json_string())
    plain["class"] = type(processor).__name__
    return plain


def _from_plain(loader: str, plain: dict[str, Any]) -> Any:
    """A processor of transformers from its data; only classes that transformers has are made."""
    name = plain["class"]
    found = getattr(transformers, name, None)
    if not (isinstance(found, type) and hasattr(found, "from_dict")):
        raise CompressionError(f"transformers has no {loader.removeprefix('Auto')} {name!r}")
    return found.from_dict({key: value for key, value in plain.items() if key != "class"})
