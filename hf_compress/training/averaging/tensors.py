"""The tensors of a model as this process holds them: whole, or its shard of them."""

import hashlib
from collections.abc import Callable, Container, Mapping

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.distributed.tensor import DTensor, distribute_tensor

from hf_compress._errors import CompressionError
from hf_compress._modules.names import canonical_name


def check_shardable(model: nn.Module) -> None:
    """Refuse models whose parameters are not there to be read one by one.

    Raises:
        CompressionError: FSDP1, DeepSpeed ZeRO-3, or a model that transformers sharded while loading.
    """
    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise CompressionError(
            "weight averaging under FSDP 1 is not supported: its parameters are flattened into one; set fsdp_version: 2"
        )
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise CompressionError(
            "weight averaging under DeepSpeed ZeRO-3 is not supported: its parameters are empty between steps; train with"
            " DDP or FSDP2"
        )
    if getattr(getattr(model, "config", None), "distributed_config", None) is not None:
        raise CompressionError(
            "weight averaging of a model that was sharded by from_pretrained is not supported: only all processes together"
            " can save it; load it whole and shard it with FSDP2 (accelerate) or train with DDP"
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DDP and torch.compile; FSDP2 leaves a model in its place."""
    return extract_model_from_parallel(model, keep_torch_compile=False)  # type: ignore[no-any-return]


def reshard(model: nn.Module) -> None:
    """Give back what FSDP2 has gathered.

    After a forward pass without a backward pass the outermost parameters stay gathered: the module then shows whole copies
    instead of the shards, and would keep computing with them after the shards have changed.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


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


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, sharing its memory, without gradient."""
    with torch.no_grad():
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def whole(part: Tensor, like: Tensor) -> Tensor:
    """The full tensor, on the CPU. Every process must call it for the same tensors in the same order.

    Args:
        part: of the shape of `local(like)`.
        like: the model's tensor, whose sharding is followed.
    """
    if isinstance(like, DTensor):
        sharded = DTensor.from_local(
            part.to(like.device), like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
        )
        part = sharded.full_tensor()
    return part.detach().cpu()


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
            full = whole(part(tensor), like=tensor)
            done[id(tensor)] = full if keep else full.new_empty(0)
        if keep:
            result[key] = done[id(tensor)]
    return result


def shard(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a full tensor, sharded as `like` is; nothing is communicated."""
    if not isinstance(like, DTensor):
        return full
    part = distribute_tensor(full.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return local(part)


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A digest of names and first elements: which weights these are, at the price of one small copy.

    In the first process the first element of a shard is that of the tensor, so sharding does not change the digest.
    """
    names = sorted(tensors)
    digest = hashlib.sha256("\0".join(names).encode())
    for name in names:
        digest.update(local(tensors[name]).reshape(-1)[:1].double().cpu().numpy().tobytes())
    return digest.hexdigest()
