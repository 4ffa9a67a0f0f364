"""Which piece of which tensor a shrunk model is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from hf_compress._errors import CompressionError
from hf_compress._modules.module_kind import is_transposed
from hf_compress._sharding.contract import original_class
from hf_compress.architectures.architecture import Architecture, Attention, FoundStack, Stack
from hf_compress.pruning.shrink.along import cut_along, dimensions_along, tensors_of
from hf_compress.pruning.shrink.dimensions import Dimensions, StackDimensions
from hf_compress.pruning.shrink.piece import Piece

Places = tuple[tuple[int, ...], ...]
"""Of each layer that stays, the places of what stays in it."""


@dataclass(frozen=True, kw_only=True)
class KeptStack:
    """What stays of a stack of blocks.

    Attributes:
        layers: places of the layers, ascending.
        units: of each of these layers, the places of its feed-forward units; None where all stay, or it has experts.
        experts: of each of these layers, the places of its experts; None where all stay, or it has none.
        unseen: of each of these layers, those of its experts that stay because no token of the batches reached them.
        expert_units: of each of these layers, the places of each staying expert's; None where all stay, or it has none.
        groups: of each of these layers, the places of its heads of keys and values, each with its query heads; None where
            all stay.
        cross_groups: the same for the cross-attention; None where all stay, or there is none.
    """

    layers: tuple[int, ...]
    units: Places | None = None
    experts: Places | None = None
    unseen: Places | None = None
    expert_units: tuple[Places, ...] | None = None
    groups: Places | None = None
    cross_groups: Places | None = None


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stays of a model.

    Attributes:
        stacks: of each stack that the model has, in the architecture's order.
        channels: places of the hidden states' channels, ascending; None where all stay.
    """

    stacks: tuple[KeptStack, ...]
    channels: tuple[int, ...] | None = None


def pieces_of(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept, built: Any) -> dict[str, Piece]:
    """Name in the shrunk model -> piece, for every parameter and every buffer, stored or not.

    Args:
        model: to cut from.
        architecture: its row.
        dimensions: its counts.
        kept: what stays.
        built: what its class builds from the smaller config, which shows the dimensions that run along the channels.
    """
    stacks = list(zip(architecture.found(model), dimensions.stacks, kept.stacks, strict=True))
    found = {}
    for name in dict.fromkeys([*model.state_dict(), *(name for name, _ in model.named_buffers())]):
        stack = next((one for one in stacks if name.startswith(f"{one[0].prefix}.")), None)
        if stack is None:
            found[name] = Piece(source=name)
        else:
            found |= _in_stack(model, *stack, name)
    if kept.channels is None:
        return found
    return cut_along(model, found, built, dimensions.hidden, kept.channels)


def channel_dimensions(
    model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept, built: Any
) -> dict[str, tuple[int, ...]]:
    """Name in the model -> the dimensions that run along the channels of the hidden states, of each tensor that stays."""
    pieces = pieces_of(model, architecture, dimensions, replace(kept, channels=None), built)
    count = dimensions.hidden if kept.channels is None else len(kept.channels)
    along = dimensions_along(model, pieces, built, dimensions.hidden, count)
    return {pieces[name].source: dims for name, dims in along.items()}


def _in_stack(
    model: Any, found: FoundStack, dimensions: StackDimensions, kept: KeptStack, name: str
) -> Iterator[tuple[str, Piece]]:
    """A tensor in a block, by its new name; nothing where its layer goes."""
    place, _, inside = name.removeprefix(f"{found.prefix}.").partition(".")
    bias = found.stack.attention.position_bias
    if bias is not None and inside == f"{bias}.weight":  # of the first block, whichever that will be
        heads = None if kept.groups is None else _spread(kept.groups[0], dimensions.per_group)
        yield f"{found.prefix}.0.{inside}", Piece(source=name, places=() if heads is None else ((1, heads),))
    elif int(place) in kept.layers:
        new = kept.layers.index(int(place))
        if kept.expert_units is not None and inside in (*found.stack.feed_forward.inputs, found.stack.feed_forward.output):
            of_each = _of_each_expert(found.stack, dimensions, inside, kept.expert_units[new])
            whole = () if kept.experts is None else ((0, kept.experts[new]),)
            yield f"{found.prefix}.{new}.{inside}", Piece(source=name, places=whole, of_each=of_each)
            return
        module, _, parameter = name.rpartition(".")
        rows, columns = _cut(found.stack, dimensions, kept, inside.rpartition(".")[0], new)
        at = (1, 0) if parameter == "weight" and is_transposed(model.get_submodule(module)) else (0, 1)
        cut = zip(at, (rows, columns if parameter == "weight" else None), strict=True)
        places = tuple((dimension, places) for dimension, places in cut if places is not None)
        yield f"{found.prefix}.{new}.{inside}", Piece(source=name, places=places)


def _of_each_expert(stack: Stack, dimensions: StackDimensions, inside: str, units: Places) -> tuple[int, Places]:
    """Columns of the output; rows of the gate, and those of what it is multiplied with behind all of the gate's."""
    if inside == stack.feed_forward.output:
        return 2, units
    return 1, tuple((*own, *(dimensions.units + place for place in own)) for own in units)


def _cut(
    stack: Stack, dimensions: StackDimensions, kept: KeptStack, module: str, new: int
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Of a module in a block: the rows that write what stays, and the columns that read it; None where all do."""
    if kept.units is not None and module in stack.feed_forward.inputs:
        return kept.units[new], None
    if kept.units is not None and module == stack.feed_forward.output:
        return None, kept.units[new]
    if kept.experts is not None and stack.experts is not None and module in (stack.experts.router, stack.experts.experts):
        return kept.experts[new], None
    for attention, groups in ((stack.attention, kept.groups), (stack.cross_attention, kept.cross_groups)):
        if attention is None or groups is None:
            continue
        if module in (attention.query, attention.key, attention.value):
            return _rows_of_heads(attention, dimensions, module, groups[new]), None
        if module == attention.output:
            return None, _spread(groups[new], dimensions.head_size * dimensions.per_group)
    return None, None


def _rows_of_heads(
    attention: Attention, dimensions: StackDimensions, module: str, groups: Sequence[int]
) -> tuple[int, ...]:
    size, per_group = dimensions.head_size, dimensions.per_group
    if attention.query != attention.key:
        return _spread(groups, size * per_group if module == attention.query else size)
    if attention.by_head:
        return _spread(groups, 3 * size)
    return tuple(part * dimensions.heads * size + row for part in range(3) for row in _spread(groups, size))


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
    stored = model.state_dict()
    own, expected = tensors_of(model), tensors_of(built)
    for name in dict.fromkeys([*expected, *pieces]):
        piece = pieces.get(name)
        cut = None if piece is None else tuple(piece.of(own[piece.source].detach().to("meta")).shape)
        stock = tuple(expected[name].shape) if name in expected else None
        derived = stock is None and piece is not None and piece.source not in stored  # of a kind of attention that is gone
        if cut is None and name not in own:
            raise CompressionError(
                f"{type(model).__name__} as its config says it has {name}, and this model was made without it"
                " (add_pooling_layer=False, perhaps), so that from_pretrained would fill it with random numbers; make the"
                " model as its config says"
            )
        if cut != stock and not derived:
            raise CompressionError(
                f"{type(model).__name__} as its config would say it has {name} of shape {stock}, and cutting gives {cut}"
                " (None = no such tensor): this model has parts that its row in hf_compress/architectures does not know;"
                " see docs/adding-an-architecture.md, or keep that part whole"
            )
    for name, piece in pieces.items():
        part = piece.source.rpartition(".")[0]
        own_class = _class_of(model.get_submodule(part))
        stock_class = _class_of(built.get_submodule(name.rpartition(".")[0]))
        if own_class is not stock_class:
            raise CompressionError(
                f"{part} is a {own_class.__name__} where {type(model).__name__} has a {stock_class.__name__}, and the"
                " shrunk model would compute without what that adds; shrink the model first, then replace or quantize"
            )


def _class_of(module: nn.Module) -> type[nn.Module]:
    """A part that torch has parametrized (weight norm) is of a class of its own in each model."""
    if parametrize.is_parametrized(module):
        return parametrize.type_before_parametrizations(module)
    return original_class(module)
