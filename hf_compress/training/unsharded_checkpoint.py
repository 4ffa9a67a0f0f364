"""The checkpoint of a run that did not shard, gone on from by one under FSDP 2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.tensor import DTensor
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from hf_compress import _distributed
from hf_compress._errors import CompressionError, reason_of
from hf_compress._sharding.contract import full_shape, original_class, shard
from hf_compress.inputs.pretrained import from_pretrained
from hf_compress.training.averaging.tensors import unwrapped


def load_weights_sharded(model: nn.Module, checkpoint: Path) -> None:
    """The weights of a run that did not shard, into one that does. Every process must call it.

    The first process loads them by the class, which knows how an architecture's tensors are called on disk, and
    `torch.distributed.checkpoint` sends them.

    Raises:
        CompressionError: in every process: they do not load as this model.
    """
    inner: Any = unwrapped(model)

    def read() -> dict[str, Any]:
        if not _distributed.is_main():
            return {}
        cls, dtype = original_class(inner), next(inner.parameters()).dtype
        loaded, info = from_pretrained(
            cls, str(checkpoint), "resume_from_checkpoint", dtype=dtype, output_loading_info=True
        )
        if info["missing_keys"]:
            raise CompressionError(
                f"{checkpoint} has no {sorted(info['missing_keys'])[0]}; it is not a whole checkpoint of {cls.__name__}"
            )
        found: dict[str, Any] = loaded.state_dict()
        return found

    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(inner, _distributed.together(read), options=options)


def load_optimizer_sharded(trainer: Any, checkpoint: Path) -> None:
    """The optimizer's state likewise, and where its learning rate is; nothing where the checkpoint has none.

    A state knows its weights by their numbers. They follow the order of the optimizer's groups, which is that of the
    model's parameters in any run of the same settings. Every process reads its slices of a mapped file; nothing is sent.

    Raises:
        CompressionError: in every process: the state is that of other weights, or of an optimizer that keeps something else
            than a number for each.
    """
    if (checkpoint / OPTIMIZER_NAME).is_file():
        groups = [group["params"] for group in trainer.optimizer.param_groups]
        trainer.optimizer.load_state_dict(_distributed.together(lambda: _cut(checkpoint, groups)))
        trainer.lr_scheduler.load_state_dict(torch.load(checkpoint / SCHEDULER_NAME, weights_only=True))


def _cut(checkpoint: Path, groups: Sequence[Sequence[Tensor]]) -> dict[str, Any]:
    """An optimizer's state, as its parameters lie."""
    try:
        found = torch.load(checkpoint / OPTIMIZER_NAME, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged archive fails in its own way
        raise CompressionError(f"{checkpoint / OPTIMIZER_NAME} cannot be read: {reason_of(error)}") from error
    flat = [parameter for group in groups for parameter in group]
    alike = [len(group["params"]) for group in found["param_groups"]] == [len(group) for group in groups]
    if not alike or any(
        isinstance(value, Tensor) and value.dim() and value.shape != full_shape(flat[number])
        for number, kept in found["state"].items()
        for value in kept.values()
    ):
        raise CompressionError(
            f"{checkpoint}: the optimizer's state in it is not one number for each weight of this run, so it cannot be cut"
            " as they are; go on as it was written, or start a new run from its weights (load the model from that folder)"
        )
    for number, kept in found["state"].items():
        found["state"][number] = {name: _laid_out(value, flat[number]) for name, value in kept.items()}
    return found  # type: ignore[no-any-return]


def _laid_out(value: Any, like: Tensor) -> Any:
    """What an optimizer keeps of a weight, where the weight lies; steps are numbers and stay."""
    if not isinstance(value, Tensor) or not value.dim() or not isinstance(like, DTensor):
        return value
    part = shard(value, like).clone()  # no part of the file, which may be written anew
    return DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
