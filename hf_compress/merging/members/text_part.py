"""A text model beside a model that has one inside it (vision and language): its weights under the names of that part."""

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.architecture import log_differences, model_class
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.renamed import RenamedSource
from hf_compress.checkpoints.source import Source

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class TextPart(RenamedSource):
    """A text model as a whole one that lacks everything but its text part.

    Attributes:
        parameters: of the whole model's class, those that the text model has.
    """

    parameters: frozenset[str]


def text_parts(sources: Sequence[Source]) -> list[Source]:
    """The sources in their order, text models wrapped where another source is of a class that has such a model inside.

    The whole model's text part must have the text model's parameters, by their names and shapes (rows of the vocabulary
    aside), and its kind by its config's name: `qwen2_vl_text` for `qwen2`.

    Raises:
        CompressionError: a text model does not fit the part.
    """
    whole = next((source for source in sources if _text_config(source) is not None), None)
    if whole is None or all(_kind(source) == _kind(whole) for source in sources):
        return list(sources)
    names = ModelNames(whole.config, whole.infos, whole.place)
    return [
        source if _kind(source) == _kind(whole) or not _fits(source, whole) else _part(source, whole, names)
        for source in sources
    ]


def _kind(source: Source) -> Any:
    return source.config.get("model_type")


def _text_config(source: Source) -> dict[str, Any] | None:
    """The config of the text part of a model that is more than that."""
    text = source.config.get("text_config")
    return text if isinstance(text, dict) and model_class(source.config) is not None else None


def _fits(source: Source, whole: Source) -> bool:
    """Whether the whole model's text part is of the source's kind, by the names that transformers gives them."""
    text, kind = str((_text_config(whole) or {}).get("model_type")), str(_kind(source))
    plain = text.removesuffix("_text").replace("_vl", "")
    return model_class(source.config) is not None and (text == kind or plain == kind or plain.startswith(kind))


def _part(source: Source, whole: Source, names: ModelNames) -> TextPart:
    own = ModelNames(source.config, source.infos, source.place)
    model: PreTrainedModel = own.model  # type: ignore[assignment]
    inside: PreTrainedModel = names.model  # type: ignore[assignment]
    prefix = _path_of_text(inside)
    heads = [_weight_of_head(each) for each in (model, inside)]
    shown: dict[str, str] = {}
    found: dict[str, str] = {}
    for tensor in source.infos:
        parameter = own.parameter(tensor)
        if parameter is None or parameter not in own.tensor_of:
            if parameter is not None or tensor in {name for parts in own.rearranged.values() for name in parts}:
                _refuse(source, whole, f"{tensor} is stored rearranged")
            continue  # what its own class ignores
        place = heads[1] if parameter == heads[0] else f"{prefix}.{parameter.removeprefix(f'{model.base_model_prefix}.')}"
        if place is None or place not in inside.state_dict():
            _refuse(source, whole, f"{parameter} has no place in its text part")
        if place in names.rearranged:
            _refuse(source, whole, f"{names.rearranged[place][0]} is stored rearranged")
        shown[names.tensor_of.get(place, place)] = tensor
        found[parameter] = place
    for name in inside.state_dict():
        if name.startswith(f"{prefix}.") and name not in found.values():
            _refuse(source, whole, f"it has no {name}")
    head, inner = heads
    if (
        head is not None
        and inner is not None
        and head in own.tied
        and inner not in names.tied
        and inner not in found.values()
    ):
        shown[names.tensor_of.get(inner, inner)] = own.tensor_of[own.tied[head]]
        found[head] = inner
    log_differences(whole.label, whole.config["text_config"], source.label, source.config)
    config = copy.deepcopy(whole.config)
    config.pop("quantization_config", None)
    if "vocab_size" in source.config:
        config["text_config"]["vocab_size"] = source.config["vocab_size"]
    part = TextPart(source, shown, config)
    part.parameters = frozenset(found.values()) | frozenset(names.tied)
    for name, info in part.infos.items():
        if name in whole.infos and info.shape[1:] != whole.infos[name].shape[1:]:
            _refuse(source, whole, f"{name} is {list(whole.infos[name].shape)} there and {list(info.shape)} here")
    logger.info("%s is merged as the text part of %s (%s)", source.label, whole.label, prefix)
    return part


def _path_of_text(model: "PreTrainedModel") -> str:
    """The name of the module that is the text model."""
    text = model.config.get_text_config()
    return next(name for name, module in model.named_modules() if name and getattr(module, "config", None) is text)


def _weight_of_head(model: "PreTrainedModel") -> str | None:
    head = model.get_output_embeddings()
    return next((f"{name}.weight" for name, module in model.named_modules() if module is head and head is not None), None)


def _refuse(source: Source, whole: Source, reason: str) -> NoReturn:
    raise CompressionError(
        f"{source.label} ({source.place}) does not fit the text part of {whole.label} ({whole.place}): {reason}; merge"
        " models whose text parts are of one architecture"
    )
