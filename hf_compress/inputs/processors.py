"""Image processors and feature extractors of sound, those of checkpoints and the defaults of architectures."""

from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.inputs.sections import FreshModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def load_image_processor(model: str | FreshModel, config: "PretrainedConfig") -> Any:
    """The image processor of a model; for a fresh one the architecture's default at the config's image size."""
    from transformers import AutoImageProcessor

    if isinstance(model, str):
        return from_pretrained(AutoImageProcessor, model, "model", backend="pil")
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
        extractor = from_pretrained(AutoFeatureExtractor, model, "model")
    else:
        cls: Any = FEATURE_EXTRACTOR_MAPPING.get(type(config), None)
        extractor = None if cls is None else cls()
    if not isinstance(getattr(extractor, "sampling_rate", None), int):
        at = "model" if isinstance(model, str) else "model.config.model_type"
        raise CompressionError(f"{at}: {config.model_type} has no feature extractor for sound, so it hears nothing")
    return extractor
