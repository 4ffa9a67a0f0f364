"""A batch of rows of tokens that are not equally long."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy

from hf_compress.ensembling.modelling.inputs import numbered
from hf_compress.tasks.row_kind import IGNORED


class PadRows:
    """A collator that pads token ids, masks and labels of tokens to the longest row, on the right.

    There whatever the tokenizer does for generation: the positions of a row then begin at 0 whatever stands beside it, and
    a gradient does not depend on how rows are put into batches. Labels are padded with -100. Columns that are neither the
    tokenizer's nor labels stay out.

    Args:
        processor: a tokenizer with a padding token.
        more: other columns that a batch has, one number for a row.
    """

    _collator: ClassVar[str] = "DataCollatorForTokenClassification"

    def __init__(self, processor: Any, more: Sequence[str] = ()) -> None:
        import transformers

        # An ensemble's tokenizer has others inside, whose inputs have their number behind the name.
        inside = enumerate(getattr(processor, "others", ()), start=1)
        others = [f"{name}_{number}" for number, other in inside for name in other.model_input_names]
        self._keys = {*processor.model_input_names, *others, "labels", *more}
        self._collate = getattr(transformers, self._collator)(_on_the_right(processor))

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Tensors of shape (B, T)."""
        return self._collate([{key: value for key, value in row.items() if key in self._keys} for row in rows])


def _on_the_right(processor: Any) -> Any:
    """A copy that pads there, with those that it has inside."""
    padded = copy.copy(processor)
    padded.padding_side = "right"
    if getattr(processor, "others", ()):
        padded.others = [_on_the_right(other) for other in processor.others]
    return padded


class PadTexts(PadRows):
    """The same for rows whose labels are no tokens."""

    _collator: ClassVar[str] = "DataCollatorWithPadding"


class PadPairs(PadRows):
    """The same for rows whose labels are another sequence, with a length of its own."""

    _collator: ClassVar[str] = "DataCollatorForSeq2Seq"


class PadSounds:
    """A collator that pads what a feature extractor makes of sounds to the longest of a batch, or to a given length.

    Never to less than a quarter of a second, because the convolutions and the masks in time of wav2vec2 and its kin do not
    fit into less. What has one size for every sound (Whisper, AST) stays as it is.

    Args:
        processor: a feature extractor, or an ensemble's, which has several inside.
        num_samples: what a sound is padded to; None = the longest of a batch.
        number: of an extractor inside an ensemble's; what it makes has it behind its name.
    """

    def __init__(self, processor: Any, num_samples: int | None = None, number: int = 0) -> None:
        self._extractor, self._num_samples, self._number = processor, num_samples, number

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """Tensors of shape (B, N) or (B, T, F), a mask where the extractor makes one, and labels (lists with -100)."""
        import torch

        batch: dict[str, Any] = {}
        for number, extractor in enumerate(extractors_in(self._extractor)):
            batch |= PadSounds(extractor, self._num_samples, number)._batch(rows)
        labels = [row["labels"] for row in rows]
        if isinstance(labels[0], list):
            longest = max(map(len, labels))
            labels = [[*one, *[IGNORED] * (longest - len(one))] for one in labels]
        return {**batch, "labels": torch.tensor(labels)}

    def row(self, sound: Mapping[str, Any]) -> dict[str, Any]:
        """One sound alone, by the names that the extractor has for it."""
        return {numbered(name, self._number): values[0] for name, values in self._padded([sound], "np").items()}

    def _batch(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        names = {name: numbered(name, self._number) for name in self._extractor.model_input_names}
        own = [{name: row[here] for name, here in names.items() if here in row} for row in rows]
        return {numbered(name, self._number): values for name, values in self._padded(own, "pt").items()}

    def _padded(self, sounds: Sequence[Mapping[str, Any]], kind: str) -> Any:
        heard = [sound[self._extractor.model_input_names[0]] for sound in sounds]
        least = least_samples(self._extractor.sampling_rate) if numpy.ndim(heard[0]) == 1 else 0
        length = max(*map(len, heard), self._num_samples or 0, least)
        return self._extractor.pad(sounds, padding="max_length", max_length=length, return_tensors=kind)


def extractors_in(processor: Any) -> list[Any]:
    """The feature extractors inside an ensemble's, by their numbers; any other is alone."""
    return list(getattr(processor, "each", (processor,)))


def least_samples(rate: int) -> int:
    """What `PadSounds` pads every sound to at least, at a rate."""
    return rate // 4
