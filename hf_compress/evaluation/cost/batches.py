"""Batches of a stated shape for a model, whatever it reads."""

from typing import Any

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._forward.probe import probe_inputs, unpadded_inputs
from hf_compress.inputs.models import num_positions

LENGTH = 128
"""Where none is asked for and the model leaves it open."""


def takes_lengths(model: Any) -> bool:
    """Whether inputs may have any length, as tokens, samples and frames mostly do; an image's size is the config's."""
    return _main_shape(model, LENGTH // 4) != _main_shape(model, LENGTH // 8)


def _main_shape(model: Any, length: int) -> tuple[int, ...]:
    batch = probe_inputs(model, 1, length)
    if batch is None:
        raise CompressionError(
            f"{type(model).__name__}: no batch can be made from its config, so nothing can be measured on one"
        )
    return tuple(batch[model.main_input_name].shape)


def positions_of(model: Any) -> int | None:
    """How many tokens a batch's texts may have; None where it has none, or any number."""
    members = getattr(model, "members", None)
    if members is not None:  # an ensemble takes what all of its members take
        limits = [positions_of(member) for member in members]
        return min((limit for limit in limits if limit is not None), default=None)
    return num_positions(model) if model.main_input_name == "input_ids" else None


def batch_of(model: Any, batch_size: int, length: int | None) -> dict[str, Tensor]:
    """A batch without padding and labels, on the model's device: always the same numbers.

    Args:
        model: a transformers model.
        batch_size: rows.
        length: tokens of a text (and of a decoder's), samples or frames of a sound; None where the config fixes the shape.

    Raises:
        CompressionError: no batch can be made, or it would be longer than the model's positions.
    """
    most = positions_of(model)
    if length is not None and most is not None and length > most:
        raise CompressionError(f"length={length} is more than the model's {most} positions; write at most {most}")
    batch = unpadded_inputs(model, batch_size, length)
    assert batch is not None  # `takes_lengths` was asked first
    return batch
