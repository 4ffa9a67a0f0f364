"""How many frames a sound becomes in models that hear samples through convolutions (Wav2Vec2, HuBERT, WavLM, ...)."""

from typing import Any

import torch

from hf_compress._errors import CompressionError, reason_of


def num_frames(num_samples: int, config: Any) -> int:
    """Frames of a sound by itself, without padding.

    Args:
        num_samples: at the model's rate.
        config: with conv_kernel and conv_stride, and those of an adapter where it has one.
    """
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        num_samples = (num_samples - kernel) // stride + 1
    if getattr(config, "add_adapter", False):
        for _ in range(config.num_adapter_layers):
            num_samples = (num_samples - 1) // config.adapter_stride + 1
    return max(num_samples, 0)


def check_frames(model: Any, num_samples: int) -> None:
    """Refuse a model whose frames `num_frames` does not know, by a forward pass of silence.

    Args:
        model: may be without memory.
        num_samples: of a sound.

    Raises:
        CompressionError: it hears something else than samples, or makes another number of frames of them.
    """
    name, config = type(model).__name__, model.config
    if model.main_input_name != "input_values" or not hasattr(config, "conv_kernel"):
        raise CompressionError(
            f"model: {name} hears {model.main_input_name} and not samples through convolutions, so it is not known how many"
            " frames a sound becomes; name a model such as Wav2Vec2, HuBERT or WavLM, or train in Python"
        )
    # transformers makes the mask's vector, the first parameter, in memory wherever the rest is.
    device = "meta" if any(parameter.is_meta for parameter in model.parameters()) else model.device
    try:
        with torch.no_grad():
            made = model.eval()(input_values=torch.zeros(1, num_samples, device=device)).logits.shape[1]
    except (RuntimeError, ValueError) as error:
        raise CompressionError(f"model: {name} cannot hear {num_samples:,} samples: {reason_of(error)}") from error
    if made != num_frames(num_samples, config):
        raise CompressionError(
            f"model: {name} makes {made} frames of {num_samples:,} samples, and its convolutions"
            f" {num_frames(num_samples, config)}; name another model, or train in Python"
        )


def check_masks(config: Any, shortest: int) -> None:
    """Refuse masks in time that are longer than a sound, with which a training ends.

    Args:
        config: the model's.
        shortest: frames of the shortest sound.

    Raises:
        CompressionError: with both lengths.
    """
    masked = getattr(config, "apply_spec_augment", False) and getattr(config, "mask_time_prob", 0) > 0
    if masked and shortest < config.mask_time_length:
        raise CompressionError(
            f"model.config.mask_time_length: {config.mask_time_length} frames are masked at a time, and the shortest"
            f" sound has {shortest}; write a smaller one, or apply_spec_augment: false"
        )
