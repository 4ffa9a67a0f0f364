"""Cutting every tensor of a model along one thing that its config counts: the hidden states' channels, the vocabulary."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from hf_compress.pruning.shrink.piece import Piece


def cut_along(model: Any, pieces: Mapping[str, Piece], built: Any, total: int, places: tuple[int, ...]) -> dict[str, Piece]:
    """The pieces, cut to `places` along each dimension that `dimensions_along` finds."""
    along = dimensions_along(model, pieces, built, total, len(places))
    cut = {name: tuple((dimension, places) for dimension in dims) for name, dims in along.items()}
    return {name: replace(piece, places=(*piece.places, *cut.get(name, ()))) for name, piece in pieces.items()}


def dimensions_along(
    model: Any, pieces: Mapping[str, Piece], built: Any, total: int, count: int
) -> dict[str, tuple[int, ...]]:
    """Name in the shrunk model -> the dimensions that are `total` long in a piece and `count` in the class's own tensor.

    Which they are is asked of the class and not of the sizes alone: a dimension that happens to be as long stays so there.

    Args:
        model: the pieces are of.
        pieces: with all else cut, by name in the shrunk model.
        built: by the class from the smaller config, without memory.
        total: how many there are.
        count: how many stay.
    """
    own, expected = tensors_of(model), tensors_of(built)
    found = {}
    for name, piece in pieces.items():
        cut = tuple(piece.of(own[piece.source].detach().to("meta")).shape)
        stock = tuple(expected[name].shape) if name in expected else ()
        sides = enumerate(zip(cut, stock, strict=False))
        if len(cut) == len(stock) and (dims := tuple(place for place, sizes in sides if sizes == (total, count))):
            found[name] = dims
    return found


def tensors_of(model: Any) -> dict[str, Tensor]:
    """Every parameter and every buffer, stored or not, by name."""
    return {**dict(model.named_buffers()), **model.state_dict()}
