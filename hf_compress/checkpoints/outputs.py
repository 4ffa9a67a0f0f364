"""Whether a loaded model answers as the model does that was written."""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import reason_of
from hf_compress._forward.batch import on_device
from hf_compress._forward.probe import probe_inputs
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress._modules.types import cast_weights
from hf_compress._quiet import quiet
from hf_compress.checkpoints.stored import (
    distance,
    refuse,
    same_bits,
    type_name,
)


def compare_outputs(
    model: Any, fresh: Any, example: Mapping[str, Any] | None, place: Path, widened: Sequence[str] = ()
) -> str:
    """Refuse a loaded model whose outputs on a batch are not, bit for bit, those of the model that was written.

    The bound is 0 for every scheme, FP8 included: plain transformers computes a loaded checkpoint with the same functions
    of compressed-tensors that the model was trained and converted with. Where a device does not repeat its own sums
    (atomic additions on GPUs), the bound is twice what the model differs from itself. Where outputs differ, both are run
    again with every tensor at an even address: a file puts its tensors anywhere, and some processors then add up products
    in another order.
    """
    inputs = example if example is not None else probe_inputs(model)
    if inputs is None:
        return "no batch could be made from its config, so outputs were not compared; pass example= to compare them"
    try:
        own = outputs_of(model, inputs)
    except Exception as error:
        if example is None and not _runs_in_float32(model, inputs):
            return f"outputs were not compared, its forward takes no batch from its config ({_said(error)}); pass example="
        dtype = str(model.dtype).removeprefix("torch.")
        refuse(
            place,
            f"the model itself does not run as it is stored, in {dtype} ({_said(error)}); store it with dtype='float32'",
        )
    try:
        with quiet():
            other = outputs_of(fresh.to(model.device) if not hasattr(fresh, "hf_device_map") else fresh, inputs)
    except Exception as error:  # whatever its forward raises, nobody can use it
        refuse(place, f"the loaded checkpoint does not run ({_said(error)}); {_other_storage(model)}")
    name, worst = worst_difference(model, inputs, own, other)
    if name:
        with aligned(model), aligned(fresh):
            name, worst = worst_difference(model, inputs, outputs_of(model, inputs), outputs_of(fresh, inputs))
    if name:
        refuse(
            place,
            f"{name} of the loaded checkpoint differ from the model's by {worst:.3g} on a batch, though every tensor is the"
            f" same: {_cause(model, fresh, widened)}",
        )
    return f"{', '.join(own)} equal on a batch ({', '.join(f'{key} {list(value.shape)}' for key, value in inputs.items())})"


def worst_difference(
    model: Any, inputs: Mapping[str, Any], own: Mapping[str, Tensor], other: Mapping[str, Tensor]
) -> tuple[str, float]:
    """The first output that is another, and by how much; "" where all are, bit for bit or up to what the model repeats.

    Args:
        model: gave `own`.
        inputs: of both.
        own: outputs by name.
        other: those of the model that should answer alike.
    """
    for name, value in own.items():
        if name not in other or not same_bits(value, other[name]):
            worst = distance(value, other[name]) if name in other else float("inf")
            if worst > 2 * distance(value, outputs_of(model, inputs)[name]):
                return name, worst
    return "", 0.0


@contextlib.contextmanager
def aligned(model: Any) -> Iterator[None]:
    """Every tensor on the CPU begins at a multiple of 64 bytes, as torch itself would put it; then all is where it was."""
    moved = [one for one in (*model.parameters(), *model.buffers()) if one.device.type == "cpu" and one.data_ptr() % 64]
    before = [one.data for one in moved]
    try:
        for one in moved:
            one.data = one.data.clone()
        yield
    finally:
        for one, data in zip(moved, before, strict=True):
            one.data = data


def outputs_of(model: Any, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    """The floating outputs of one forward in evaluation mode, by name.

    Trainers and accelerators replace `forward` on the instance (mixed precision); what is served is the class's own.
    """
    placed = on_device(inputs, model.device)
    own_forward = not _is_dispatched(model)
    devices = [model.device] if model.device.type == "cuda" else []
    with (
        evaluating_without_gradients(model),
        torch.no_grad(),
        torch.random.fork_rng(devices),
        torch.autocast(model.device.type, enabled=False),
    ):
        torch.manual_seed(0)  # for the few that draw numbers in evaluation mode too
        found = type(model).forward(model, **placed) if own_forward else model(**placed)
    named = found.items() if hasattr(found, "items") else ((f"output {index}", item) for index, item in enumerate(found))
    return {name: value for name, value in named if isinstance(value, Tensor) and value.is_floating_point()}


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {reason_of(error)}"


def _cause(model: Any, fresh: Any, widened: Sequence[str]) -> str:
    """Why outputs can differ where every tensor is the same, and the way out."""
    if widened:
        loaded = type_name(fresh.state_dict()[widened[0]].dtype)
        return f"transformers loads {widened[0]} in {loaded}; {_other_storage(model)}"
    if getattr(model, "hf_quantizer", None) is not None:
        other = "" if model.dtype == torch.float32 else f", or {_other_storage(model)}"
        return f"the architecture uses a weight by itself, unquantized; add it to quantization.ignore{other}"
    return f"something that is not stored is made in another way when it is loaded; {_other_storage(model)}"


def _other_storage(model: Any) -> str:
    """How else the model can be stored, as the end of a refusal."""
    if model.dtype != torch.float32:
        return "store the model with dtype='float32'"
    if getattr(model, "hf_quantizer", None) is not None:
        return "take another scheme, or leave the quantization out"
    return "report it with the architecture's name"


def _is_dispatched(model: Any) -> bool:
    """A packed model unpacks itself, and one on several devices moves its inputs, in hooks around its forward."""
    return hasattr(model, "hf_device_map") or hasattr(model, "ct_decompress_hook")


def _runs_in_float32(model: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether the forward fails for the type of the weights alone."""
    wide = cast_weights(copy.deepcopy(model), "float32")
    floating = {
        key: value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
        for key, value in inputs.items()
    }
    try:
        outputs_of(wide, floating)
    except Exception:  # the batch is wrong in any type
        return False
    return True
