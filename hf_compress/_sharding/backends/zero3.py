"""DeepSpeed ZeRO-3: every process holds a run of each weight's numbers, and of their masters."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hf_compress._sharding.across import ALONE, Across
from hf_compress._sharding.contract import Change, Sharding, hook_on_gradient
from hf_compress._sharding.group import Group


@dataclass(frozen=True, kw_only=True)
class ZeRO3(Sharding, name="zero3"):
    """A weight is flattened, filled up to a multiple of the processes and cut into runs (`ds_tensor`); it is put together
    for the passes of its module and empty in between. The optimizer steps on fp32 masters of the runs.

    A part is (1, n), because a run ends anywhere; that of a process which holds everything has the weight's shape.
    """

    flat: ClassVar[bool] = True
    shards_others: ClassVar[bool] = True

    def holds(self, tensor: Tensor) -> bool:
        """By the number that DeepSpeed gives each parameter."""
        return hasattr(tensor, "ds_id")

    def refusal(self, model: nn.Module) -> str | None:
        """Runs that lie on a disk are not there to be read."""
        if any(_is_on_disk(parameter) for parameter in model.parameters() if self.holds(parameter)):
            return (
                "under DeepSpeed ZeRO-3 with weights on a disk is not supported: they are not there to be read; set"
                " zero_optimization.offload_param.device to cpu or none"
            )
        return None

    def shape(self, tensor: Tensor) -> torch.Size:
        """Noted by DeepSpeed; the tensor's own is (0,)."""
        return torch.Size(_of(tensor).ds_shape)

    def local(self, tensor: Tensor) -> Tensor:
        """The run, without what fills it up."""
        return self._shaped(tensor, _of(tensor).ds_tensor.detach())

    def dimension(self, tensor: Tensor) -> int | None:
        """The runs follow each other; None with one process."""
        return None if self.across(tensor) is ALONE else 0

    def across(self, tensor: Tensor) -> Across:
        """The processes among which DeepSpeed cuts it."""
        group = _of(tensor).ds_process_group
        if dist.get_world_size(group) == 1:
            return ALONE
        return Group(group, _of(tensor).ds_tensor.device)

    def whole(self, part: Tensor, like: Tensor) -> Tensor:
        """Gathered where the run of `like` lies, and moved back to where `part` is."""
        known = _of(like)
        run = torch.zeros(known.ds_tensor.numel(), dtype=part.dtype, device=known.ds_tensor.device)
        run[: part.numel()] = part.reshape(-1)
        runs = [torch.empty_like(run) for _ in range(dist.get_world_size(known.ds_process_group))]
        dist.all_gather(runs, run, group=known.ds_process_group)
        return torch.cat(runs)[: self.shape(like).numel()].view(self.shape(like)).to(part.device)

    def shard(self, full: Tensor, like: Tensor) -> Tensor:
        """Cut as DeepSpeed cuts."""
        known = _of(like)
        filled = known.ds_tensor.numel()
        start = min(filled * dist.get_rank(known.ds_process_group), full.numel())
        run = full.reshape(-1)[start : start + filled]
        return self._as_part(like, run).to(known.ds_tensor.device)

    def edit(self, parameter: Tensor, change: Change) -> None:
        """The run and its master; a small weight that DeepSpeed leaves whole is given back, and put together again."""
        from deepspeed.utils import safe_get_local_fp32_param, safe_set_local_fp32_param

        if parameter.requires_grad and hasattr(parameter, "_z3_optimizer"):
            master = safe_get_local_fp32_param(parameter)
            change(self._shaped(parameter, master))
            safe_set_local_fp32_param(parameter, master)
        change(self.local(parameter))
        if _of(parameter).ds_status.name == "AVAILABLE":
            _of(parameter).partition()

    def gradient(self, parameter: Tensor) -> Tensor | None:
        """None: backward() takes the step as well, see `follow_gradient`."""
        return None

    def follow_gradient(self, parameter: Tensor, change: Change) -> RemovableHandle:
        """Each micro-batch's whole gradient, while the weight is whole, before DeepSpeed adds it up, cuts it and clips."""
        return hook_on_gradient(parameter, change)

    def edit_states(self, parameter: Tensor, optimizer: torch.optim.Optimizer, change: Change) -> None:
        """The runs of what the optimizer keeps."""
        from deepspeed.utils import safe_get_local_optimizer_state, safe_set_local_optimizer_state

        for name in dict.fromkeys(name for kept in optimizer.state.values() for name, one in kept.items() if _is_run(one)):
            state = safe_get_local_optimizer_state(parameter, name)
            change(self._shaped(parameter, state))
            safe_set_local_optimizer_state(parameter, state, name)

    @contextmanager
    def loading_whole(self) -> Iterator[None]:
        """While transformers holds DeepSpeed's configuration it cuts what it loads; it is hidden from it meanwhile."""
        from transformers.integrations import deepspeed

        reference = deepspeed._hf_deepspeed_config_weak_ref
        deepspeed.unset_hf_deepspeed_config()
        try:
            yield
        finally:
            known = None if reference is None else reference()
            if known is None:
                deepspeed.unset_hf_deepspeed_config()
            else:
                deepspeed.set_hf_deepspeed_config(known)

    def shard_like(self, model: nn.Module, like: Tensor) -> None:
        """By an engine of its own, which gathers each module's weights for its pass; in the type that is stored."""
        import deepspeed

        stored = next(model.parameters()).dtype
        config = {
            "train_micro_batch_size_per_gpu": 1,  # asked for, and of no use without training
            "bf16": {"enabled": stored == torch.bfloat16},
            "fp16": {"enabled": stored == torch.float16},
            "zero_optimization": {"stage": 3},
        }
        deepspeed.initialize(model=model, config=config)

    def _shaped(self, parameter: Tensor, filled: Tensor) -> Tensor:
        """A filled-up run as a part, sharing its memory."""
        start = filled.numel() * dist.get_rank(_of(parameter).ds_process_group)
        own = min(max(self.shape(parameter).numel() - start, 0), filled.numel())
        return self._as_part(parameter, filled.view(-1)[:own])

    def _as_part(self, parameter: Tensor, run: Tensor) -> Tensor:
        shape = self.shape(parameter)
        return run.view(shape if run.numel() == shape.numel() else (1, -1))


def _of(tensor: Tensor) -> Any:
    """With what DeepSpeed notes on it."""
    return tensor


def _is_on_disk(parameter: Tensor) -> bool:
    place = getattr(_of(parameter).ds_tensor, "final_location", None)
    return place is not None and getattr(place, "value", place) == "nvme"


def _is_run(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0
