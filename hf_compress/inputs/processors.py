"""Image processors and feature extractors of sound, those of checkpoints and the defaults of architectures."""

import inspect
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.location import folder_of
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.sections import FreshModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_FILES = ("preprocessor_config.json", "processor_config.json")


def load_saved(auto_class: Any, model: str, what: str, **arguments: Any) -> Any:
    """What lies beside a model's weights to make its inputs.

    Args:
        auto_class: an Auto class of processors.
        model: a folder or Hub id.
        what: it loads, in words.
        **arguments: passed on.

    Raises:
        CompressionError: there is none, or it does not load.
    """
    folder = folder_of(model, "model")
    if folder is not None and folder.is_dir() and not any((folder / name).is_file() for name in _FILES):
        raise CompressionError(
            f"model: the folder {model} holds no {what} ({_FILES[0]}); save that of the model there with save_pretrained"
        )
    return from_pretrained(auto_class, model, "model", **arguments)


def load_image_processor(model: str | FreshModel, config: "PretrainedConfig") -> Any:
    """The image processor of a model; for a fresh one the architecture's default at the config's image size."""
    from transformers import AutoImageProcessor

    if isinstance(model, str):
        return load_saved(AutoImageProcessor, model, "image processor", backend="pil")
    from transformers import IMAGE_PROCESSOR_MAPPING

    classes: Any = IMAGE_PROCESSOR_MAPPING.get(type(config), None) or {}
    cls = classes.get("pil")
    if cls is None:
        raise CompressionError(
            f"model.config.model_type: {config.model_type} has no image processor, so it reads no images"
        )
    size = getattr(config, "image_size", None)
    if size is None:
        return cls()
    height, width = (size, size) if isinstance(size, int) else size
    return cls(size={"height": height, "width": width})


def load_feature_extractor(model: str | FreshModel, config: "PretrainedConfig") -> Any:
    """The feature extractor of a model that hears; for a fresh one the architecture's default.

    Raises:
        CompressionError: it has none, or one without a sampling rate.
    """
    from transformers import FEATURE_EXTRACTOR_MAPPING, AutoFeatureExtractor

    if isinstance(model, str):
        extractor = load_saved(AutoFeatureExtractor, model, "feature extractor")
    else:
        cls: Any = FEATURE_EXTRACTOR_MAPPING.get(type(config), None)
        extractor = None if cls is None else cls(**_extracted_for(cls, config))
    if not isinstance(getattr(extractor, "sampling_rate", None), int):
        at = "model" if isinstance(model, str) else "model.config.model_type"
        raise CompressionError(f"{at}: {config.model_type} has no feature extractor for sound, so it hears nothing")
    return extractor


def _extracted_for(cls: Any, config: "PretrainedConfig") -> dict[str, Any]:
    """Arguments of an architecture's feature extractor that follow from the sizes in its config."""
    takes = inspect.signature(cls.__init__).parameters
    given = {
        name: getattr(config, name) for name in ("num_mel_bins", "max_length") if name in takes and hasattr(config, name)
    }
    if "return_attention_mask" in takes and getattr(config, "feat_extract_norm", None) == "layer":
        given["return_attention_mask"] = True  # other norms see padding whatever they are told
    if "chunk_length" in takes and hasattr(config, "max_source_positions"):
        hop = takes["hop_length"].default
        samples, rate = config.max_source_positions * 2 * hop, takes["sampling_rate"].default
        if samples % rate:
            raise CompressionError(
                f"model.config.max_source_positions: {config.max_source_positions} positions of {2000 * hop // rate} ms are"
                f" no whole seconds; take a multiple of {rate // (2 * hop)}"
            )
        given |= {"chunk_length": samples // rate, "feature_size": config.num_mel_bins}
    return given
