"""From a plan to the parts of a model that stay; everything that can be refused is refused here."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import skeleton
from hf_compress._modules.plain_model import require_plain
from hf_compress._sharding.contract import is_sharded
from hf_compress.architectures.architecture import Architecture, architecture_of
from hf_compress.pruning.shrink.by_counts import by_counts
from hf_compress.pruning.shrink.channels import best_channels
from hf_compress.pruning.shrink.choice import ShrinkChoice, row_in_words, size_of
from hf_compress.pruning.shrink.dimensions import Dimensions, dimensions_of
from hf_compress.pruning.shrink.importance import most_important
from hf_compress.pruning.shrink.influence import block_influence
from hf_compress.pruning.shrink.keep_best import keep_best
from hf_compress.pruning.shrink.one_by_one import removed_one_by_one, without
from hf_compress.pruning.shrink.piece import Piece
from hf_compress.pruning.shrink.pieces import Kept, KeptStack, channel_dimensions, pieces_of
from hf_compress.pruning.shrink.plan import Importance, ShrinkPlan, of_stack
from hf_compress.pruning.shrink.smaller_model import built_smaller, smaller_model

Batches = Iterable[Mapping[str, Any]]


def choose_counted(model: Any, plan: ShrinkPlan, calibration: Batches | None = None) -> ShrinkChoice:
    """What stays by a plan's counts; see `choose_parts`."""
    check_model(model)
    batches = listed(calibration)
    importance = plan.importance or ("weights" if batches is None else "activations")
    if importance != "weights" and batches is None:
        raise CompressionError(
            f"importance={importance!r} is measured on calibration, and there is none; give batches of the model's"
            " arguments, or choose importance='weights'"
        )
    architecture = architecture_of(model)
    dimensions = dimensions_of(model, architecture)
    kept, built = by_counts(model, architecture, dimensions, plan)
    stacks, influence, removed = list(kept.stacks), {}, {}
    for place, found in enumerate(architecture.found(model)):
        asked, stack = of_stack(plan.layers, found.stack.name), stacks[place]
        if isinstance(asked, tuple) or len(stack.layers) == len(found.blocks):
            continue
        if batches is None:
            raise CompressionError(
                f"{dimensions.stacks[place].of}layers={asked} says how many layers stay and not which; give calibration,"
                " batches on which their influence is measured, or their places, such as layers=[0, 1, 3]"
            )
        if plan.depth == "loss":
            gone = removed_one_by_one(model, batches, len(found.blocks) - len(stack.layers), place)
            stacks[place], removed[found.stack.name] = replace(stack, layers=without(len(found.blocks), gone)), gone
            continue
        scores = block_influence(model, list(found.blocks), batches)
        layers = most_important(torch.tensor(scores, dtype=torch.float64), len(stack.layers), "layers")
        stacks[place], influence[found.stack.name] = replace(stack, layers=layers), tuple(scores)
    if influence or removed:
        kept = replace(kept, stacks=tuple(stacks))
        built = built_smaller(model, architecture, dimensions, kept)
    kept = _widths(model, architecture, dimensions, kept, batches, built, importance)
    whole = skeleton(model)
    pieces = pieces_of(model, architecture, dimensions, kept, built)
    return ShrinkChoice(
        kept=kept,
        made_for=dimensions,
        left=dimensions_of(built, architecture),
        influence=influence or None,
        removed=removed or None,
        importance=importance,
        before=size_of(whole, ((name, tensor.itemsize) for name, tensor in model.named_parameters())),
        after=size_of(built, _item_bytes(model, pieces)),
        row=row_in_words(whole),
    )


def _widths(
    model: Any,
    architecture: Architecture,
    dimensions: Dimensions,
    kept: Kept,
    batches: list[Mapping[str, Any]] | None,
    built: Any,
    importance: Importance,
) -> Kept:
    """Which units, heads and channels stay in the layers that do; behind fewer layers others write most."""
    as_deep = all(len(one.layers) == own.layers for one, own in zip(kept.stacks, dimensions.stacks, strict=True))
    as_wide = kept.channels is None and all(one == KeptStack(layers=one.layers) for one in kept.stacks)
    if batches is None or as_deep or as_wide:
        return _best(model, architecture, dimensions, kept, batches, built, importance)
    deep = [one.layers for one in kept.stacks]
    only_depth = Kept(stacks=tuple(KeptStack(layers=layers) for layers in deep))
    shallow = smaller_model(model, architecture, dimensions, only_depth, shared=True)
    places = tuple(replace(one, layers=tuple(range(len(one.layers)))) for one in kept.stacks)
    own = dimensions_of(shallow, architecture)
    found = _best(shallow, architecture, own, replace(kept, stacks=places), batches, built, importance, deep)
    stacks = zip(found.stacks, deep, strict=True)
    return replace(found, stacks=tuple(replace(one, layers=layers) for one, layers in stacks))


def _best(
    model: Any,
    architecture: Architecture,
    dimensions: Dimensions,
    kept: Kept,
    batches: list[Mapping[str, Any]] | None,
    built: Any,
    importance: Importance,
    called: list[tuple[int, ...]] | None = None,
) -> Kept:
    """As many units, heads and channels as are kept, those worth most."""
    found = keep_best(model, architecture, dimensions, kept, batches, importance, called)
    if kept.channels is None:
        return found
    along = channel_dimensions(model, architecture, dimensions, kept, built)
    return replace(found, channels=best_channels(model, along, len(kept.channels), batches, importance))


def check_model(model: Any) -> None:
    """Refuse a model whose tensors are not all there, dense and whole.

    Raises:
        CompressionError: with the way out.
    """
    if not isinstance(model, torch.nn.Module):
        raise CompressionError(f"a {type(model).__name__} given where a model is expected; load it with from_pretrained")
    require_plain(model, "shrinking")
    if is_sharded(model):
        raise CompressionError("shrinking takes a model that lies whole in one process; shrink it before it is sharded")
    absent = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if absent is not None:
        raise CompressionError(
            f"{absent} has no memory (offloaded, or never loaded); load the model whole and shrink it then"
        )


def listed(calibration: Batches | None) -> list[Mapping[str, Any]] | None:
    """The batches, which are run over more than once.

    Raises:
        CompressionError: there is none, or what is none.
    """
    if isinstance(calibration, Mapping | Tensor):
        raise CompressionError("calibration is an iterable of batches, mappings of tensors; give one batch as [batch]")
    batches = None if calibration is None else list(calibration)
    if batches is None:
        return None
    if not sum(_distributed.gather(len(batches))) or not all(isinstance(batch, Mapping) for batch in batches):
        raise CompressionError(
            "calibration holds no batch, or what is none; give mappings of the model's arguments to tensors"
        )
    return batches


def _item_bytes(model: Any, pieces: dict[str, Piece]) -> Iterable[tuple[str, int]]:
    """Parameter name in the shrunk model -> bytes of one number, as the model stores it."""
    own = model.state_dict()
    return ((name, own[piece.source].itemsize) for name, piece in pieces.items() if piece.source in own)
