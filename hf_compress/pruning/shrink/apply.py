"""A smaller model from the parts that stay."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress.architectures.architecture import architecture_of
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.pruning.shrink.choose import Batches, check_model
from hf_compress.pruning.shrink.dimensions import dimensions_of
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.smaller_model import smaller_model
from hf_compress.pruning.shrink.within_budget import choose_parts


def shrink(model: Any, plan: ShrinkPlan | ShrinkChoice, calibration: Batches | None = None) -> Any:
    """A smaller model of the same class, made of the parts that stay.

    What it computes is what the model would compute with zeros where parts go: in the columns that read a removed unit or
    head, with the input of a removed layer handed on as its output, with -inf for the router's logits of removed experts,
    and with norms that look at the channels that stay. It is a stock model with a stock config: it saves, loads, trains and
    generates like any other.

    Args:
        model: stays as it is; the result shares no memory with it.
        plan: how much stays, or what `choose_parts` chose.
        calibration: batches of the model's keyword arguments, to choose by; see `choose_parts`.

    Returns:
        The smaller model, on the same devices, in the same types and mode.

    Raises:
        CompressionError: the model's type has no row in `hf_compress/architectures`; a number is not one that its config
            can say (with those that are); layers or experts are to be chosen without calibration; the choice was made for
            another model; the model is quantized, carries adapters, is sharded, or has tensors that its class does not
            build. Nothing was changed.
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
            f"the choice was made for {choice.made_for} and {choice.made_for.hidden} channels of hidden states, and this is"
            f" {dimensions} and {dimensions.hidden} channels; choose its parts anew"
        )
    return smaller_model(model, architecture, dimensions, choice.kept)
