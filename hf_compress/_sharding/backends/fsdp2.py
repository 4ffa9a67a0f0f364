"""FSDP2: parameters are DTensors, cut along their first dimension."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._sharding.across import ALONE, Across
from hf_compress._sharding.contract import Sharding
from hf_compress._sharding.from_first import lacks_weights, send_buffers, take_out
from hf_compress._sharding.group import Group


@dataclass(frozen=True, kw_only=True)
class FSDP2(Sharding, name="fsdp2"):
    """Every process holds a slice of each parameter, of its gradient and of its optimizer states.

    With a mesh of two dimensions (replicas of shards) the processes of one replica add up.
    """

    shards_others: ClassVar[bool] = True

    def holds(self, tensor: Tensor) -> bool:
        """A DTensor."""
        return isinstance(tensor, DTensor)

    def local(self, tensor: Tensor) -> Tensor:
        """The slice."""
        return _known(tensor).to_local()

    def dimension(self, tensor: Tensor) -> int | None:
        """Where it is cut."""
        cut = _cut(_known(tensor))
        return None if cut is None else cut[1].dim

    def across(self, tensor: Tensor) -> Across:
        """The processes along the mesh dimension that cuts it."""
        cut = _cut(_known(tensor))
        if cut is None:
            return ALONE
        mesh = _known(tensor).device_mesh
        return Group(mesh.get_group(cut[0]), _on(_known(tensor)))

    def whole(self, part: Tensor, like: Tensor) -> Tensor:
        """Gathered on the device of the mesh, which is not that of weights that are offloaded; back on that of `part`."""
        known = _known(like)
        sharded = DTensor.from_local(
            part.to(_on(known)),
            known.device_mesh,
            known.placements,
            shape=known.shape,
            stride=known.stride(),
        )
        return sharded.full_tensor().to(part.device)

    def shard(self, full: Tensor, like: Tensor) -> Tensor:
        """Cut as torch cuts."""
        known = _known(like)
        part = distribute_tensor(full.to(_on(known)), known.device_mesh, known.placements, src_data_rank=None)
        return self.local(part).to(known.to_local().device)

    def reshard(self, model: nn.Module) -> None:
        """After a forward pass without a backward pass the outermost parameters stay gathered: the module then shows whole
        copies instead of the slices, and would keep computing with them after the slices have changed.
        """
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()

    def device(self, tensor: Tensor) -> torch.device:
        """The mesh's."""
        return _on(_known(tensor))

    def shard_like(self, model: nn.Module, like: Tensor) -> None:
        """Layer by layer, by the classes that the model names as not to be split, and what is left at the end.

        Where some processes have no weights, the first one's are sent, one at a time.
        """
        known = _known(like)
        offloaded = known.to_local().device.type != known.device_mesh.device_type
        settings: dict[str, Any] = {"mesh": known.device_mesh, "reshard_after_forward": True}
        if offloaded:
            settings["offload_policy"] = CPUOffloadPolicy()
        alone = any(_distributed.gather(lacks_weights(model)))
        if alone:
            send_buffers(model)
        given = take_out(model) if alone else {}
        layers = set(getattr(model, "_no_split_modules", None) or ())
        for module in model.modules():
            if type(module).__name__ in layers:
                fully_shard(module, **settings)
        fully_shard(model, **settings)
        if alone:
            self._fill(model, given, offloaded)

    def _fill(self, model: Any, given: dict[str, Any], offloaded: bool) -> None:
        """A model that was cut without memory gets the first process's weights, as accelerate gives them to a student."""
        parts = {}
        for name, parameter in model.named_parameters():
            full = torch.empty(parameter.shape, dtype=parameter.dtype, device=_on(parameter))
            if _distributed.is_main():
                full.copy_(given[name].detach())
            _distributed.broadcast(full, 0)
            part = distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)
            parts[name] = part.to("cpu") if offloaded else part
        model.load_state_dict(parts, assign=True, strict=False)
        if hasattr(model, "tie_weights"):
            model.tie_weights()

    def original_class(self, cls: type[nn.Module]) -> type[nn.Module]:
        """`fully_shard` puts a class of its own before it."""
        return next((one for one in cls.__mro__ if issubclass(one, nn.Module) and not issubclass(one, FSDPModule)), cls)


def _known(tensor: Tensor) -> DTensor:
    assert isinstance(tensor, DTensor)
    return tensor


def _on(tensor: DTensor) -> torch.device:
    """Where its mesh computes and communicates."""
    return torch.device(tensor.device_mesh.device_type)


def _cut(tensor: DTensor) -> tuple[int, Shard] | None:
    """The mesh dimension that cuts a tensor, and how; None where every process holds all of it."""
    cuts = [(place, one) for place, one in enumerate(tensor.placements) if not isinstance(one, Replicate)]
    if not cuts:
        return None
    place, cut = cuts[0]
    if len(cuts) > 1 or type(cut) is not Shard:
        raise CompressionError(
            f"a weight of the shape {tuple(tensor.shape)} lies in the processes as {tensor.placements}, and weights can"
            " only be counted where each is cut along one dimension; shard with FSDP2 alone, without tensor parallelism"
        )
    return place, cut
