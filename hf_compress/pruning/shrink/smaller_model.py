"""A smaller model of the same class: first without memory, then filled with the pieces that stay."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import build
from hf_compress._sharding.contract import original_class
from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.alignment import rename_alignment_heads
from hf_compress.pruning.shrink.along import tensors_of
from hf_compress.pruning.shrink.dimensions import Dimensions
from hf_compress.pruning.shrink.piece import Piece
from hf_compress.pruning.shrink.pieces import Kept, check_stock, pieces_of
from hf_compress.pruning.shrink.smaller_config import changes_of, smaller_config


def built_smaller(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept) -> Any:
    """The model's class with the smaller config, without memory.

    Raises:
        CompressionError: the class does not accept the config.
    """
    changes = changes_of(model, architecture, dimensions, kept)
    config = smaller_config(model.config, architecture.config_part, changes)
    built = build(original_class(model), config, None, "meta")
    if built is None:
        raise CompressionError(f"{type(model).__name__} cannot be built from its config alone; shrink the model inside it")
    return built


@torch.no_grad()
def smaller_model(model: Any, architecture: Architecture, dimensions: Dimensions, kept: Kept, shared: bool = False) -> Any:
    """The model's class with the smaller config and the model's own numbers; devices, types and mode are the model's.

    Args:
        model: stays as it is.
        architecture: its row.
        dimensions: its counts.
        kept: what stays of it.
        shared: tensors that stay whole are the model's own memory, for a model that is looked at and thrown away.

    Raises:
        CompressionError: the class does not accept the config, or builds other tensors than those that stay.
    """
    small = built_smaller(model, architecture, dimensions, kept)
    pieces = pieces_of(model, architecture, dimensions, kept, small)
    check_stock(small, model, pieces)
    filled(small, model, pieces, shared)
    rename_alignment_heads(small, kept)
    return small


@torch.no_grad()
def filled(small: Any, model: Any, pieces: Mapping[str, Piece], shared: bool = False) -> Any:
    """A model without memory, filled with the pieces of another; devices, types and mode are that one's.

    Args:
        small: built by the class from the smaller config.
        model: the pieces are of; stays as it is.
        pieces: by name in the small one, in the shapes that it has.
        shared: see `smaller_model`.
    """
    own = tensors_of(model)
    stored = set(small.state_dict())

    def piece(name: str) -> torch.Tensor:
        found, tensor = pieces[name], own[pieces[name].source]
        return tensor if shared and not (found.places or found.of_each) else found.of(tensor)

    small.load_state_dict({name: piece(name) for name in stored}, assign=True)
    for name in [name for name, _ in small.named_buffers() if name not in stored]:
        owner, _, last = name.rpartition(".")
        setattr(small.get_submodule(owner), last, piece(name))
    small.tie_weights()
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters(remove_duplicate=False)}
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(trained[pieces[name].source])
    if getattr(model, "generation_config", None) is not None:
        small.generation_config = copy.deepcopy(model.generation_config)
    return small.train(model.training)
