"""Which piece of which tensor a shrunk model is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._modules.module_kind import is_transposed
from hf_compress._sharding.contract import original_class
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.dimensions import Dimensions


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stays.

    Attributes:
        layers: places of the layers, ascending.
        units: of each of these layers, the places of its feed-forward units; None where all stay.
        groups: of each of these layers, the places of its heads of keys and values, each with its query heads; None where
            all stay.
    """

    layers: tuple[int, ...]
    units: tuple[tuple[int, ...], ...] | None = None
    groups: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A tensor of the model, and what of it stays.

    Attributes:
        source: its name.
        places: dimension and the places along it that stay, for each dimension that is cut.
    """

    source: str
    places: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def of(self, tensor: Tensor) -> Tensor:
        """A copy of what stays; the shape alone where the tensor has no memory."""
        for dimension, places in self.places:
            tensor = tensor.index_select(dimension, torch.tensor(places, device=tensor.device))
        return tensor if self.places else tensor.clone()


def pieces_of(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept) -> dict[str, Piece]:
    """Name in the shrunk model -> piece, for every parameter and every buffer, stored or not."""
    prefix, _ = architecture.block_list(model)
    new_places = {old: new for new, old in enumerate(kept.layers)}
    found = {}
    for name in dict.fromkeys([*model.state_dict(), *(name for name, _ in model.named_buffers())]):
        if not name.startswith(f"{prefix}."):
            found[name] = Piece(source=name)
            continue
        place, _, inside = name.removeprefix(f"{prefix}.").partition(".")
        new = new_places.get(int(place))
        if new is not None:
            found[f"{prefix}.{new}.{inside}"] = _piece(model, architecture, dimensions, kept, name, inside, new)
    return found


def _piece(
    model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept, name: str, inside: str, new: int
) -> Piece:
    """Of a tensor in a block: rows of what writes units or heads, columns of what reads them."""
    attention, feed_forward = architecture.attention, architecture.feed_forward
    module, _, parameter = inside.rpartition(".")
    rows: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None
    if kept.units is not None:
        rows = kept.units[new] if module in feed_forward.inputs else None
        columns = kept.units[new] if module == feed_forward.output else None
    if kept.groups is not None:
        size, groups = dimensions.head_size, kept.groups[new]
        if module in (attention.key, attention.value):
            rows = _spread(groups, size)
        if module == attention.query:
            rows = _spread(groups, size * dimensions.per_group)
        if module == attention.output:
            columns = _spread(groups, size * dimensions.per_group)
    if parameter != "weight":
        return Piece(source=name, places=() if rows is None else ((0, rows),))
    at = (1, 0) if is_transposed(model.get_submodule(name.rpartition(".")[0])) else (0, 1)
    cut = zip(at, (rows, columns), strict=True)
    return Piece(source=name, places=tuple((dimension, places) for dimension, places in cut if places is not None))


def _spread(places: Sequence[int], size: int) -> tuple[int, ...]:
    """Each place as the `size` neighbouring rows that it stands for."""
    return tuple(place * size + row for place in places for row in range(size))


def check_stock(built: Any, model: Any, pieces: dict[str, Piece]) -> None:
    """Hold the pieces against what the model's class builds from the smaller config.

    Args:
        built: by the class, without memory.
        model: the pieces are of.
        pieces: by name in the shrunk model.

    Raises:
        CompressionError: the class builds a tensor that no piece is for, one of another shape, or lacks one; or a part of
            the model is of another class than the one that takes its place.
    """
    own = {**dict(model.named_buffers()), **model.state_dict()}
    expected = {**dict(built.named_buffers()), **built.state_dict()}
    for name in dict.fromkeys([*expected, *pieces]):
        piece = pieces.get(name)
        cut = None if piece is None else tuple(piece.of(own[piece.source].detach().to("meta")).shape)
        stock = tuple(expected[name].shape) if name in expected else None
        if cut != stock:
            raise CompressionError(
                f"{type(model).__name__} as its config would say it has {name} of shape {stock}, and cutting gives {cut}"
                " (None = no such tensor): this model has parts that its row in hf_compress/architectures does not know;"
                " see docs/adding-an-architecture.md, or keep that part whole"
            )
    for name, piece in pieces.items():
        part = piece.source.rpartition(".")[0]
        own_class = original_class(model.get_submodule(part))
        stock_class = type(built.get_submodule(name.rpartition(".")[0]))
        if own_class is not stock_class:
            raise CompressionError(
                f"{part} is a {own_class.__name__} where {type(model).__name__} has a {stock_class.__name__}, and the"
                " shrunk model would compute without what that adds; shrink the model first, then replace or quantize"
            )
