"""The tensors that an average is taken of, and the state dict that it is written as."""

import hashlib
from collections.abc import Callable, Container, Mapping

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from hf_compress._modules.names import canonical_name
from hf_compress._sharding.contract import local, reshard, whole


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DDP and torch.compile; FSDP2 leaves a model in its place."""
    return extract_model_from_parallel(model, keep_torch_compile=False)  # type: ignore[no-any-return]


def averaged_tensors(model: nn.Module, buffers: bool, known: Container[str] = ()) -> dict[str, Tensor]:
    """What an average is taken of, by canonical name: trainable floating parameters, and floating buffers if `buffers`.

    A frozen parameter is its own average, so none is kept of it: with LoRA that is almost the whole model.

    Args:
        model: with or without wrappers.
        buffers: include floating-point buffers.
        known: names of parameters that count even when they are frozen.
    """
    reshard(model)
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        name = canonical_name(name)
        if parameter.is_floating_point() and (parameter.requires_grad or name in known):
            found[name] = parameter
    if buffers:
        found |= {canonical_name(name): buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
    return found


@torch.no_grad()
def full_state_dict(model: nn.Module, keep: bool, part: Callable[[Tensor], Tensor] = local) -> dict[str, Tensor]:
    """The state dict of the unwrapped model, gathered on the CPU. Every process must call it.

    Args:
        model: with or without wrappers.
        keep: False in processes that only help to gather; they get {}.
        part: the model's tensor -> what takes the place of this process's part of it.
    """
    inner = unwrapped(model)
    reshard(inner)
    done: dict[int, Tensor] = {}
    result: dict[str, Tensor] = {}
    for key, tensor in inner.state_dict(keep_vars=True).items():
        if id(tensor) not in done:  # tied weights stay one tensor
            full = whole(part(tensor), like=tensor).cpu()
            done[id(tensor)] = full if keep else full.new_empty(0)
        if keep:
            result[key] = done[id(tensor)]
    return result


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A digest of names and first elements: which weights these are, at the price of one small copy.

    In the first process the first element of a shard is that of the tensor, so sharding does not change the digest.
    """
    names = sorted(tensors)
    digest = hashlib.sha256("\0".join(names).encode())
    for name in names:
        digest.update(local(tensors[name]).reshape(-1)[:1].double().cpu().numpy().tobytes())
    return digest.hexdigest()
