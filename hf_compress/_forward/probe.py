"""A small batch that a model's forward accepts, built from its config: what a dry run before training needs.

No random numbers are drawn and no data is read, so a probe changes nothing about the training that follows. A batch of
one modality is made (the one `main_input_name` says), plus the decoder's tokens; sizes are those the config fixes (an
image size, a spectrogram length), and small where it leaves them open.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_TOKENS = 8
"""Length of a probe's token sequences: longer than one window of local attention needs no model."""
_FRAMES = 24
"""Positions that reach the encoder of a model of sound: enough for the strides that follow its feature extractor."""
_PIXELS = 32
"""Height and width where the config fixes none."""


def probe_inputs(model: nn.Module, batch_size: int = 2, length: int | None = None) -> dict[str, Tensor] | None:
    """A deterministic batch for `model(**batch)`, without labels, on the model's device.

    Args:
        model: with a `config`, such as a transformers model; others have no probe.
        batch_size: rows.
        length: T, samples or frames, where the config leaves them open; None for few.

    Returns:
        input_ids (B, T), pixel_values (B, C, H, W), input_values (B, samples) or (B, frames, bins), input_features (B,
        bins, frames) or (B, frames, bins), by the model's `main_input_name`, with decoder_input_ids (B, T) for
        encoder-decoders; None where the config does not say what the forward takes. That the forward accepts the batch is
        likely, not promised.
    """
    groups = getattr(getattr(model, "config", None), "input_groups", None)
    if groups:
        return _of_members(model, groups, batch_size, length)
    config = getattr(model, "config", None)
    name = getattr(model, "main_input_name", None)
    build = _BUILDERS.get(name) if isinstance(name, str) else None
    if config is None or build is None:
        return None
    try:
        batch = build(model, config, batch_size, length)
        batch |= _beside(model, config, batch_size, length, batch)
    except (AttributeError, KeyError, TypeError, ValueError):  # a config that lacks what its kind of model has
        batch = {}
    if not batch:
        return None
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    dtype = parameter.dtype if parameter is not None and parameter.is_floating_point() else torch.float32
    return {key: value.to(device, dtype if value.is_floating_point() else None) for key, value in batch.items()}


def unpadded_inputs(model: nn.Module, batch_size: int = 2, length: int | None = None) -> dict[str, Tensor] | None:
    """The same with the mask that tokenizers give, of ones: what a batch of whole rows is in use."""
    batch = probe_inputs(model, batch_size, length)
    if batch is not None and "attention_mask" in inspect.signature(model.forward).parameters:
        for key in [key for key in batch if key.startswith("input_ids")]:
            batch[key.replace("input_ids", "attention_mask")] = torch.ones_like(batch[key])
    return batch


def _of_members(model: Any, groups: list[int], batch_size: int, length: int | None) -> dict[str, Tensor] | None:
    """What the members of an ensemble read: inputs of each processor but the first have its number behind their name."""
    made: dict[str, Tensor] = {}
    for member, group in zip(model.members, groups, strict=True):
        batch = probe_inputs(member, batch_size, length)
        if batch is None:
            return None
        made |= {f"{key}_{group}" if group else key: value for key, value in batch.items()}
    return made


def _beside(
    model: nn.Module, config: Any, batch_size: int, length: int | None, batch: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What some forwards want beside the main input."""
    more: dict[str, Tensor] = {}
    takes = inspect.signature(model.forward).parameters
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in takes:
        decoder = getattr(config, "decoder", config)
        more["decoder_input_ids"] = _ids(model, decoder, batch_size, length)
    if "input_ids" in takes and "input_ids" not in batch and takes["input_ids"].default is inspect.Parameter.empty:
        more["input_ids"] = _ids(model, _part(config, "text"), batch_size, length)
    if "pixel_values" in takes and "pixel_values" not in batch and _is_two_tower(config):
        more |= _image(model, config, batch_size, length)
    return more


def _is_two_tower(config: Any) -> bool:
    """CLIP and its kin: text and image go in side by side, and no image token stands in the text."""
    return hasattr(config, "projection_dim") and hasattr(config, "vision_config") and hasattr(config, "text_config")


def _part(config: Any, *kinds: str) -> Any:
    """The config that holds a modality's numbers: a part of a composite config, or the config itself."""
    for kind in kinds:
        for key in (
            f"{kind}_config",
            f"{kind}_encoder_config",
            f"{kind}_encoder",
            "encoder_config",
            "encoder",
            "backbone_config",
        ):
            part = getattr(config, key, None)
            if part is not None and hasattr(part, "to_dict"):
                return part
    return config


def _ids(model: nn.Module, config: Any, batch_size: int, length: int | None) -> Tensor:
    """(B, T) token ids: ordinary ones, ending in the end token where the model has one (BART's classifier reads there).

    Special tokens stand for images, padding and masks, which change what a forward does, so they are left out.
    """
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = _vocabulary(model, config)
    special = {
        value
        for key, value in config.to_dict().items()
        if key.endswith(("token_id", "token_index")) and isinstance(value, int)
    }
    ordinary = [token for token in range(min(size, 4 * _TOKENS + len(special))) if token not in special]
    ordinary = ordinary[len(ordinary) // 4 :] or [0]
    limit = getattr(config, "max_position_embeddings", None)
    length = length or _TOKENS
    length = min(length, limit) if isinstance(limit, int) and limit > 0 else length
    rows = [[ordinary[(row * 5 + place * 3) % len(ordinary)] for place in range(length)] for row in range(batch_size)]
    end = getattr(config, "eos_token_id", None)
    if getattr(config, "is_encoder_decoder", False) and isinstance(end, int) and 0 <= end < size:
        for row in rows:
            row[-1] = end
    return torch.tensor(rows)


def _vocabulary(model: nn.Module, config: Any) -> int:
    """How many tokens may be asked for: the config's number, and never more than the embedding holds.

    Models that hash characters (CANINE) have neither and take any.
    """
    sizes = [getattr(config, "vocab_size", None)]
    with contextlib.suppress(Exception):  # architectures without one say so in many ways
        sizes.append(getattr(model.get_input_embeddings(), "num_embeddings", None))  # type: ignore[operator]
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=8 * _TOKENS)


def _wave(*shape: int) -> Tensor:
    """Values in [-1, 1] that differ from place to place and row to row, always the same."""
    count = math.prod(shape)
    return torch.sin(torch.arange(1, count + 1, dtype=torch.float64) * 0.7).reshape(shape).float()


def _text(model: nn.Module, config: Any, batch_size: int, length: int | None) -> dict[str, Tensor]:
    return {"input_ids": _ids(model, config, batch_size, length)}


def _image(model: nn.Module, config: Any, batch_size: int, length: int | None) -> dict[str, Tensor]:
    """(B, C, H, W), and (B, frames, C, H, W) for models of video."""
    config = _part(config, "vision")
    size = getattr(config, "image_size", None) or getattr(config, "input_size", None) or getattr(config, "img_size", None)
    size = size if isinstance(size, int | list | tuple) else _PIXELS
    height, width = (size, size) if isinstance(size, int) else (size[-2], size[-1])
    channels = getattr(config, "num_channels", None) or getattr(config, "in_channels", None) or 3
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    shape = (batch_size, channels, height, width)
    return {"pixel_values": _wave(*(shape if frames is None else (batch_size, frames, *shape[1:])))}


def _sound(model: nn.Module, config: Any, batch_size: int, length: int | None) -> dict[str, Tensor]:
    """(B, samples) for models of waveforms, (B, frames, bins) for models of spectrograms by that name."""
    config = _part(config, "audio")
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):  # AST fixes both
        return {"input_values": _wave(batch_size, config.max_length, config.num_mel_bins)}
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if kernels is None or strides is None:
        return {"input_values": _wave(batch_size, length or 4096)}
    samples = _FRAMES * max(getattr(config, "squeeze_factor", 1) or 1, 1)
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return {"input_values": _wave(batch_size, length or samples)}


def _spectrogram(model: nn.Module, config: Any, batch_size: int, length: int | None) -> dict[str, Tensor]:
    """(B, bins, frames) for Whisper and its kin, whose positions fix the frames; else (B, frames, bins)."""
    config = _part(config, "audio")
    positions = getattr(config, "max_source_positions", None)
    if positions is not None and hasattr(config, "num_mel_bins") and not hasattr(config, "input_feat_per_channel"):
        return {"input_features": _wave(batch_size, config.num_mel_bins, 2 * positions)}
    keys = ("feature_projection_input_dim", "input_feat_per_channel", "num_mel_bins", "input_dim", "feature_size")
    bins = next((size for key in keys if isinstance(size := getattr(config, key, None), int)), None)
    if bins is None:
        return {}
    return {"input_features": _wave(batch_size, length or 4 * _FRAMES, bins)}


_BUILDERS: dict[str, Callable[[nn.Module, Any, int, int | None], dict[str, Tensor]]] = {
    "input_ids": _text,
    "pixel_values": _image,
    "input_values": _sound,
    "input_features": _spectrogram,
}
