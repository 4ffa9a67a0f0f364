"""Whether a model can be left with fewer channels of its hidden states."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.dimensions import Dimensions
from hf_compress.pruning.shrink.piece import Piece
from hf_compress.pruning.shrink.pieces import Kept
from hf_compress.pruning.shrink.smaller_config import refused_hidden


def check_hidden(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept, hidden: int) -> None:
    """Refuse a width that the model cannot have beside what else stays.

    Args:
        model: only read.
        architecture: its row.
        dimensions: its counts.
        kept: what else stays.
        hidden: how many channels are asked for.

    Raises:
        CompressionError: with those that are legal.
    """
    counts, kind = architecture.counts(model.config), type(model.config).__name__
    if hidden > dimensions.hidden:
        raise CompressionError(f"hidden={hidden}: {_whole(dimensions)}; legal: 1 to {dimensions.hidden}")
    step = dimensions.hidden_step
    if hidden % step:
        raise CompressionError(
            f"hidden={hidden}: {_whole(dimensions)}; legal: multiples of {step} below {dimensions.hidden}, and"
            f" {dimensions.hidden} (torch multiplies experts' rows of whole 16 bytes)"
        )
    reason = architecture.width_matters(counts)
    if reason:
        raise CompressionError(
            f"hidden={hidden}: with {reason} {kind}'s models compute with the hidden size itself, so that with another one"
            " they would compute something else; leave hidden out"
        )
    for found, own, stays in zip(architecture.found(model), dimensions.stacks, kept.stacks, strict=True):
        heads = own.heads if stays.groups is None else len(stays.groups[0]) * own.per_group
        if found.stack.attention.head_size is None and hidden != heads * own.head_size:
            near = min(max(int(hidden / own.head_size + 0.5), 1), own.heads)
            raise CompressionError(
                f"hidden={hidden} with {own.of}heads={heads}: {kind} has no key for the size of a head, which is always"
                f" hidden size / heads, so both go together; legal: hidden = {own.head_size} x heads, such as"
                f" hidden={near * own.head_size} heads={near}"
            )
    refusal = refused_hidden(model, architecture, dimensions, kept, hidden)
    if refusal is not None:
        legal = [
            str(count)
            for way in (range(hidden - 1, 0, -1), range(hidden + 1, dimensions.hidden + 1))
            if (count := next((one for one in way if not refused_hidden(model, architecture, dimensions, kept, one)), None))
        ]
        raise CompressionError(
            f"hidden={hidden}: {_whole(dimensions)}, and {kind} does not accept it ({refusal}); the nearest that it does:"
            f" {' and '.join(legal)}"
        )


def check_numbers(model: Any, pieces: dict[str, Piece], built: Any) -> None:
    """Refuse a model whose modules keep numbers that follow from the width, such as a factor of its embeddings.

    Args:
        model: the pieces are of.
        pieces: by name in the shrunk model.
        built: by the class from the smaller config, without memory.

    Raises:
        CompressionError: a module computes with another number there.
    """
    same: dict[str, str] = {}
    for name, piece in pieces.items():
        new, old = name.split("."), piece.source.split(".")
        same |= {".".join(new[:end]): ".".join(old[:end]) for end in range(len(new))}
    for new_name, old_name in same.items():
        numbers = vars(model.get_submodule(old_name))
        for key, value in vars(built.get_submodule(new_name)).items():
            before = numbers.get(key)
            # What is dropped at random grows with a layer's place in some, and does not count where the model is used.
            if isinstance(value, float) and isinstance(before, float) and value != before and "drop" not in key:
                raise CompressionError(
                    f"hidden: {old_name or type(model).__name__} computes with {key} = {before:.6g}, which would be"
                    f" {value:.6g} at the smaller hidden size, so the model would compute something else; leave hidden out"
                )


def _whole(dimensions: Dimensions) -> str:
    return f"{dimensions}, {dimensions.hidden} channels of hidden states"
