"""A smaller model from the parts that stay."""

import copy
from typing import Any

import torch

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import architecture_of
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.pruning.shrink.choose import Batches, built_smaller, check_model, choose_parts
from hf_compress.pruning.shrink.dimensions import dimensions_of
from hf_compress.pruning.shrink.pieces import check_stock, pieces_of
from hf_compress.pruning.shrink.plan import ShrinkPlan


@torch.no_grad()
def shrink(model: Any, plan: ShrinkPlan | ShrinkChoice, calibration: Batches | None = None) -> Any:
    """A smaller model of the same class, made of the parts that stay.

    What it computes is what the model would compute with zeros where parts go: in the columns that read a removed unit or
    head, and with the input of a removed layer handed on as its output. It is a stock model with a stock config: it saves,
    loads, trains and generates like any other.

    Args:
        model: stays as it is; the result shares no memory with it.
        plan: how much stays, or what `choose_parts` chose.
        calibration: batches of the model's keyword arguments, to choose by; see `choose_parts`.

    Returns:
        The smaller model, on the same devices, in the same types and mode.

    Raises:
        CompressionError: the model's type has no row in `hf_compress/architectures`; a number is not one that its config
            can say (with those that are); layers are to be chosen without calibration; the choice was made for another
            model; the model is quantized, carries adapters, is sharded, or has tensors that its class does not build.
            Nothing was changed.
    """
    if isinstance(plan, ShrinkChoice):
        if calibration is not None:
            raise CompressionError("calibration is for a plan, and this choice is made; leave it out")
        choice = plan
    elif isinstance(plan, ShrinkPlan):
        choice = choose_parts(model, plan, calibration)
    else:
        raise CompressionError(f"{type(plan).__name__} given; write shrink(model, ShrinkPlan(feed_forward=0.5))")
    check_model(model)
    architecture = architecture_of(model)
    dimensions = dimensions_of(model, architecture)
    if dimensions != choice.made_for:
        raise CompressionError(
            f"the choice was made for {choice.made_for}, and this is {dimensions}; choose its parts anew"
        )
    pieces = pieces_of(model, architecture, dimensions, choice.kept)
    small = built_smaller(model, architecture, dimensions, choice.kept)
    check_stock(small, model, pieces)
    own = {**dict(model.named_buffers()), **model.state_dict()}
    stored = set(small.state_dict())
    small.load_state_dict({name: pieces[name].of(own[pieces[name].source]) for name in stored}, assign=True)
    for name in [name for name, _ in small.named_buffers() if name not in stored]:
        owner, _, last = name.rpartition(".")
        setattr(small.get_submodule(owner), last, pieces[name].of(own[pieces[name].source]))
    small.tie_weights()
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters(remove_duplicate=False)}
    for name, parameter in small.named_parameters():
        parameter.requires_grad_(trained[pieces[name].source])
    if getattr(model, "generation_config", None) is not None:
        small.generation_config = copy.deepcopy(model.generation_config)
    return small.train(model.training)
