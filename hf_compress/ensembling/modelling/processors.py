"""One processor for an ensemble whose members read different ones: it makes what each of them reads."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import transformers
from transformers import BaseImageProcessor, BatchEncoding, PreTrainedTokenizerFast, SequenceFeatureExtractor

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.inputs import numbered, split_inputs
from hf_compress.ensembling.modelling.several import EnsembleFeatureExtractor, EnsembleImageProcessor

_LOADERS = {
    "AutoModelForImageClassification": "AutoImageProcessor",
    "AutoModelForAudioClassification": "AutoFeatureExtractor",
    "AutoModelForSpeechSeq2Seq": "AutoProcessor",
    "AutoModelForCTC": "AutoProcessor",
}
"""Auto class of the head -> that of the processor; a tokenizer's for all others."""


def processor_loader(auto_class: str) -> str:
    """The Auto class that loads what makes the inputs of models with this head."""
    return _LOADERS.get(auto_class, "AutoTokenizer")


def load_processor(place: dict[str, Any], auto_class: str, config: Any = None, joined: bool = False) -> Any:
    """The processor that lies beside a model; None where none does.

    Args:
        place: of the model.
        auto_class: of its head.
        config: the model's, where transformers may not know its kind.
        joined: it is one of this file's, which transformers may not know either.
    """
    where = {key: value for key, value in place.items() if value not in (None, "")}
    model, loader = where.pop("model"), processor_loader(auto_class)
    kind: Any = JOINED[loader] if joined else getattr(transformers, loader)
    if config is not None and not joined:
        where["config"] = config
    try:
        return kind.from_pretrained(model, trust_remote_code=False, **where)
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def same_processor(one: Any, other: Any) -> bool:
    """Whether two processors make the same inputs of everything."""
    return _said(one) == _said(other)


def same_tokens(one: Any, other: Any) -> bool:
    """Whether two tokenizers make the same tokens of every text, however they pad and cut."""
    backends: list[Any] = [getattr(processor, "backend_tokenizer", None) for processor in (one, other)]
    if None in backends:
        return same_processor(one, other)
    plain = [{**json.loads(backend.to_str()), "padding": None, "truncation": None} for backend in backends]
    return bool(plain[0] == plain[1])


def _said(processor: Any) -> Any:
    if processor is None:
        return None
    parts = [getattr(processor, name, None) for name in ("tokenizer", "feature_extractor", "image_processor")]
    if any(part is not None for part in parts):
        return [_said(part) for part in parts]
    backend = getattr(processor, "backend_tokenizer", None)
    if backend is not None:
        facts = ("padding_side", "truncation_side", "model_max_length", "special_tokens_map", "model_input_names")
        return [backend.to_str(), *[getattr(processor, fact) for fact in facts]]
    if hasattr(processor, "get_vocab"):
        return [processor.get_vocab(), processor.special_tokens_map]
    return json.loads(processor.to_json_string()) if hasattr(processor, "to_json_string") else repr(processor)


def group_processors(
    processors: Sequence[Any], names: Sequence[str], same: Callable[[Any, Any], bool] = same_processor
) -> tuple[list[Any], list[int]]:
    """The different ones among them, and which of those each member has.

    Args:
        processors: of the members.
        names: theirs.
        same: whether two are one.

    Raises:
        CompressionError: some members have one and others none, or those that write have different tokenizers.
    """
    missing = [name for name, processor in zip(names, processors, strict=True) if processor is None]
    if missing and len(missing) < len(names):
        raise CompressionError(
            f"member {missing[0]!r} has no tokenizer or processor beside it, and others have; save one with it or pass"
            " processors="
        )
    writers = [getattr(processor, "tokenizer", None) for processor in processors]
    for name, tokenizer in zip(names, writers, strict=True):
        if _said(tokenizer) != _said(writers[0]):
            raise CompressionError(
                f"member {name!r} has another tokenizer than member {names[0]!r}, and an ensemble writes token by token;"
                " take members with one tokenizer"
            )
    different: list[Any] = []
    groups = []
    for processor in processors:
        place = next((k for k, known in enumerate(different) if same(known, processor)), len(different))
        if place == len(different):
            different.append(processor)
        groups.append(place)
    return different, groups


def joined_processor(different: Sequence[Any]) -> Any:
    """One that makes the inputs of all of them.

    Raises:
        CompressionError: they are of kinds that cannot be joined.
    """
    first = different[0]
    if len(different) == 1:
        return first
    for kind, joined in ((PreTrainedTokenizerFast, EnsembleTokenizer), (BaseImageProcessor, EnsembleImageProcessor)):
        if all(isinstance(one, kind) for one in different):
            return joined.of(different)
    if all(isinstance(one, SequenceFeatureExtractor) for one in different):
        return EnsembleFeatureExtractor.of(different)
    kinds = ", ".join(type(one).__name__ for one in different)
    raise CompressionError(f"the members' processors are {kinds}; those of one ensemble must be of one kind")


class EnsembleTokenizer(PreTrainedTokenizerFast):
    """The first members' tokenizer, with those of the others: what they make has their number behind its name.

    `tokenizer("text")` gives `input_ids` and `attention_mask` for members that read this one, `input_ids_1` and
    `attention_mask_1` for those with the next, and so on. Decoding, special tokens and lengths are the first's.
    """

    # No __init__: transformers makes the backend of a class with its own anew from the vocabulary, and loses the rest.
    others: Sequence[Any] = ()

    @classmethod
    def of(cls, tokenizers: Sequence[Any]) -> "EnsembleTokenizer":
        """One of several tokenizers."""
        first = tokenizers[0]
        made = cls(
            tokenizer_object=first.backend_tokenizer,
            model_max_length=first.model_max_length,
            padding_side=first.padding_side,
            truncation_side=first.truncation_side,
            model_input_names=list(first.model_input_names),
            **first.special_tokens_map,
        )
        made.others = list(tokenizers[1:])
        made.chat_template = first.chat_template
        return made

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Any:
        """The tokenizer that `save_pretrained` wrote."""
        kwargs.pop("trust_remote_code", None)  # this class is there, and the others are transformers' own
        made = super().from_pretrained(pretrained_model_name_or_path, *args, trust_remote_code=False, **kwargs)
        subfolder = kwargs.pop("subfolder", "") or ""
        for key in ("_from_auto", "_commit_hash", "config"):
            kwargs.pop(key, None)
        made.others = [
            transformers.AutoTokenizer.from_pretrained(
                pretrained_model_name_or_path,
                subfolder=f"{subfolder}/processor-{k}".lstrip("/"),
                trust_remote_code=False,
                **kwargs,
            )
            for k in range(1, int(made.init_kwargs["num_processors"]))
        ]
        return made

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        """Write it, and each of the others into a folder of its own."""
        self.init_kwargs["num_processors"] = 1 + len(self.others)
        files = super().save_pretrained(save_directory, *args, **kwargs)
        for k, other in enumerate(self.others, start=1):
            other.save_pretrained(f"{save_directory}/processor-{k}")
        return files

    def __call__(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        """What all tokenizers make of the same texts."""
        made = super().__call__(*args, **kwargs)
        for k, other in enumerate(self.others, start=1):
            made.update({numbered(key, k): value for key, value in other(*args, **kwargs).items()})
        return made

    def pad(self, encoded_inputs: Any, *args: Any, **kwargs: Any) -> BatchEncoding:
        """Each tokenizer pads what it made.

        Raises:
            CompressionError: what one of them made is not there.
        """
        rows = encoded_inputs if isinstance(encoded_inputs, list | tuple) else None
        groups = set(range(1 + len(self.others)))
        split = [split_inputs(dict(row), groups) for row in (rows if rows is not None else [encoded_inputs])]
        made = None
        for k, tokenizer in enumerate([super(), *self.others]):
            own = [row[k] for row in split]
            if not all(own):
                raise CompressionError(
                    f"the rows lack {numbered('input_ids', k)}, which its tokenizer {k} makes; a Trainer drops it"
                    " unless TrainingArguments say remove_unused_columns=False"
                )
            padded = tokenizer.pad(own if rows is not None else own[0], *args, **kwargs)
            if made is None:
                made = padded
            else:
                made.update({numbered(key, k): value for key, value in padded.items()})
        return made  # type: ignore[return-value]


JOINED = {
    "AutoTokenizer": EnsembleTokenizer,
    "AutoImageProcessor": EnsembleImageProcessor,
    "AutoFeatureExtractor": EnsembleFeatureExtractor,
}
"""Auto class -> the class for several of its kind."""
