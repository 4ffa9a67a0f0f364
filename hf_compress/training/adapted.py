"""Models with PEFT adapters: made again without memory, and their files read back."""

import contextlib
import copy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._forward.dry_run import skeleton
from hf_compress._modules.plain_model import is_adapted
from hf_compress._problems import and_more
from hf_compress._quiet import quiet
from hf_compress._sharding.contract import original_class
from hf_compress.checkpoints.stored import WRITE_AGAIN, compare_tensor, refuse
from hf_compress.tasks.heads import base_model

WEIGHTS = "adapter_model.safetensors"


def twin(model: nn.Module) -> Any:
    """A model of the same class, config and adapters without memory; None where these do not make it."""
    bare = skeleton(base_model(model))
    if bare is None or not is_adapted(model):
        return bare
    with contextlib.suppress(Exception), quiet(), torch.device("meta"):  # each kind of adapter refuses in its own way
        return _with_adapters(bare, model)
    return None


def _with_adapters(bare: Any, model: Any) -> Any:
    from peft import get_peft_model, inject_adapter_in_model

    configs = {name: copy.deepcopy(config) for name, config in model.peft_config.items()}
    if model is base_model(model):  # transformers' own add_adapter
        for name, config in configs.items():
            inject_adapter_in_model(config, bare, name, low_cpu_mem_usage=True)
        bare._hf_peft_config_loaded = True
        bare.set_adapter(model.active_adapters())
        return bare
    (first, config), *others = configs.items()
    found: Any = get_peft_model(bare, config, adapter_name=first, low_cpu_mem_usage=True)
    for name, other in others:
        found.add_adapter(name, other, low_cpu_mem_usage=True)
    found.set_adapter(model.active_adapter)
    return found.eval() if type(found) is original_class(model) else None


def tie_like(model: Any, other: nn.Module) -> None:
    """Tie a model's weights: by its class, or, where adapters stand between, those that are one in the other model."""
    if not is_adapted(model):
        model.tie_weights()
        return
    names: dict[int, str] = {}
    for name, parameter in other.named_parameters(remove_duplicate=False):
        first = names.setdefault(id(parameter), name)
        if first != name:
            holder, _, own = name.rpartition(".")
            setattr(model.get_submodule(holder), own, model.get_parameter(first))


def adapters_back(model: Any, folder: Path) -> None:
    """Compare written adapters with the model's own, and let PEFT find a place for each of their tensors.

    PEFT puts them into the model without its weights, so names and shapes are what that shows.

    Args:
        model: whole, with adapters; only read.
        folder: what its `save_pretrained` wrote.

    Raises:
        CompressionError: a tensor is missing, is in no place, or is another one.
    """
    from peft import PeftModel, get_peft_model_state_dict

    own = base_model(model)
    for name in model.peft_config:
        place = folder if name == "default" or model is own else folder / name
        if not (place / WEIGHTS).is_file():
            refuse(place, f"{WEIGHTS} is not there; {WRITE_AGAIN}")
        stored = load_file(place / WEIGHTS)
        options: dict[str, Any] = {"low_cpu_mem_usage": True, "torch_device": "cpu"}
        try:
            with quiet():
                loaded = PeftModel.from_pretrained(skeleton(own), place, trust_remote_code=False, **options)
                read: dict[str, Tensor] = get_peft_model_state_dict(loaded, save_embedding_layers=False)
        except Exception as error:  # PEFT and each architecture refuse in their own ways
            raise CompressionError(f"{place}: PEFT does not load the adapter: {reason_of(error)}") from error
        meant = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        if model is own:
            meant = {f"base_model.model.{key}": tensor for key, tensor in meant.items()}
        placed = {key for key, tensor in meant.items() if key in read and read[key].shape == tensor.shape}
        lost = sorted(meant.keys() - (placed & stored.keys()))
        if lost:
            refuse(place, f"{and_more(lost, 3)} is not in {WEIGHTS}, or PEFT has no place for it; {WRITE_AGAIN}")
        for key, tensor in meant.items():
            compare_tensor(f"{key} in {WEIGHTS}", stored[key], tensor, place, WRITE_AGAIN)
