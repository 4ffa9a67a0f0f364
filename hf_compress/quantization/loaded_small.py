"""Whether a quantized model computes the same once plain transformers has loaded it, tried on a small model of its class.

The rehearsal without memory shows that a packed model can be loaded. What its forward then does shows only where it runs:
some architectures assign a buffer in another type than the one in which it was loaded (CTRL), load scales in another type
than weights (HY-V4), or take another way through their forward where their config says that they are quantized (Falcon
Mamba).
"""

import contextlib
import copy
import functools
import io
from typing import Any

import torch
from torch import nn

from hf_compress._errors import reason_of
from hf_compress._forward.probe import probe_inputs
from hf_compress._forward.remembered import Question, question
from hf_compress._forward.small_twin import small_twin
from hf_compress._modules.rounded_buffers import in_place_of, rounded_buffers
from hf_compress._modules.types import cast_as_loaded
from hf_compress._quiet import quiet
from hf_compress._random import random_states_kept
from hf_compress.checkpoints.outputs import outputs_of, worst_difference
from hf_compress.quantization.qat import convert
from hf_compress.quantization.quantizable import quantizable
from hf_compress.quantization.reach import DENSE_ON_LOAD
from hf_compress.quantization.rehearsal import Layout

_FEWEST, _SHARE, _MOST = 2**24, 32, 2**27
"""Weights of the small model: this many are tried always, and of larger models a share, up to an end: half a second for a
model of 100 million weights, five for the largest; one whose single layer is larger still is not tried."""

_ROWS = 32
"""Of text: a difference in the last bits of float32 shows in few numbers."""


def loaded_otherwise(model: nn.Module, layout: Layout, target: torch.dtype) -> str:
    """What is other once a model is stored, quantized, and loaded; empty where nothing is, or nothing can be tried.

    Args:
        model: dense, prepared or without memory; only read.
        layout: how it is stored.
        target: the type of everything that is not quantized.
    """
    asked = question(model, (layout.key(), target), layout) if layout.schemes and layout.packed else None
    return "" if asked is None else _answer(asked)


@functools.lru_cache(maxsize=32)
def _answer(asked: Question) -> str:
    from compressed_tensors.offload import as_single_threaded

    # compressed-tensors draws bars, and would share the work among the processes of a training.
    with quiet(), contextlib.redirect_stderr(io.StringIO()), as_single_threaded(), random_states_kept():
        torch.manual_seed(0)  # the same answer in every process
        target: Any = asked.more[1]  # type: ignore[index]
        twin = _packed(asked.model(), asked.given, target)
        inputs = None if twin is None else _batch(twin)
        if inputs is None:
            return ""
        fresh = _loaded(twin, target)
        if fresh is None:
            return ""
        try:
            loaded = outputs_of(fresh, inputs)
        except Exception as error:  # each architecture fails in its own way
            return reason_of(error, 200)
        with in_place_of(twin, rounded_buffers(twin, fresh)):
            name, worst = worst_difference(twin, inputs, outputs_of(twin, inputs), loaded)
        return f"its {name} differ by {worst:.3g}" if name else ""


def _batch(twin: Any) -> dict[str, Any] | None:
    """A batch that the model runs on; None where there is none."""
    for rows in (_ROWS if twin.main_input_name == "input_ids" else 2, 1):
        inputs = probe_inputs(twin, rows)
        with contextlib.suppress(Exception):  # what a forward refuses it refuses in its own way
            if inputs is not None:
                outputs_of(twin, inputs)
                return inputs
    return None


def _packed(model: Any, layout: Layout, target: torch.dtype) -> Any:
    """A small model, quantized; None where there is none, or none of its modules is."""
    total = sum(parameter.numel() for parameter in model.parameters())
    twin, _ = small_twin(model, torch.float32, max(_FEWEST, min(total // _SHARE, _MOST)))
    if twin is None:
        return None
    twin = cast_as_loaded(twin, target)
    found = False
    for name, scheme in layout.schemes.items():
        with contextlib.suppress(AttributeError):  # the small model has fewer layers
            module = twin.get_submodule(name)
            kind = quantizable(module)
            if kind is not None:
                module.__class__ = kind.fake
                module.qat_scheme, module.qat_enabled = copy.deepcopy(scheme), True
                found = True
    if not found:
        return None
    if layout.dense_on_load:
        setattr(twin, DENSE_ON_LOAD, True)
    convert(twin)
    return twin


def _loaded(twin: Any, target: torch.dtype) -> Any:
    """What plain transformers makes of it; None where it does not load whole, which the rehearsal without memory says."""
    from transformers.core_model_loading import revert_weight_conversion

    from hf_compress.quantization.serializer import packed_state

    state = revert_weight_conversion(twin, packed_state(twin))
    config = copy.deepcopy(twin.config)
    options = {"config": config, "state_dict": dict(state), "dtype": target, "output_loading_info": True}
    try:
        fresh, info = type(twin).from_pretrained(None, trust_remote_code=False, **options)
    except Exception:  # in its own way
        return None
    return None if any(info.values()) else fresh
