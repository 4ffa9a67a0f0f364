"""A sharded model made whole in the first process: what is saved, finalized and exported."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._modules.names import model_name
from hf_compress._sharding.contract import is_sharded
from hf_compress.quantization.qat import prepare_like
from hf_compress.training.adapted import tie_like, twin
from hf_compress.training.averaging.tensors import unwrapped
from hf_compress.training.deepspeed import deepspeed_config
from hf_compress.training.gathered import gathered
from hf_compress.training.sidecar import write_sidecar


def is_rebuilt(model: nn.Module) -> bool:
    """Whether class, config and adapters make a model again, with the same tensors: otherwise none is put together."""
    inner = unwrapped(model)
    again = twin(inner)
    return again is not None and again.state_dict().keys() == inner.state_dict().keys()


@torch.no_grad()
def whole_model(model: nn.Module, place: Path, keep: bool) -> nn.Module:
    """The model as one process has it, on the CPU, its weights in files that are mapped. Every process must call it.

    Args:
        model: sharded; stays as it is. Modules prepared for quantization are so in the whole one.
        place: see `gathered`.
        keep: False in processes that only help to gather; theirs has no memory.

    Raises:
        CompressionError: its class and config do not make it again, or see `gathered`.
    """
    inner: Any = unwrapped(model)
    found: Any = twin(inner)
    if found is None or not is_rebuilt(inner):
        raise CompressionError(
            f"{model_name(model)} is sharded, and its class and config alone do not make it again to put it together; save"
            " its weights with save_model and load them in one process"
        )
    tensors = gathered(inner, place, keep)
    if getattr(inner, "generation_config", None) is not None:
        found.generation_config = copy.deepcopy(inner.generation_config)
    prepare_like(found, inner)
    if not keep:
        return found  # type: ignore[no-any-return]
    found.load_state_dict(tensors, assign=True)
    for name, buffer in inner.named_buffers():
        if name not in tensors:  # what a class computes for itself
            holder, _, own = name.rpartition(".")
            setattr(found.get_submodule(holder), own, buffer.detach().cpu().clone())
    tie_like(found, inner)
    trained = {name: parameter.requires_grad for name, parameter in inner.named_parameters()}
    for name, parameter in found.named_parameters():
        parameter.requires_grad_(trained.get(name, True))
    return found.train(inner.training)  # type: ignore[no-any-return]


def in_one_process(model: nn.Module, place: str | Path) -> Any:
    """The model as the first process can write it: itself, or put together at `place`. Every process must call it."""
    return whole_model(model, Path(place), keep=_distributed.is_main()) if is_sharded(model) else model


def _in_shards(trainer: Any) -> bool:
    """Whether checkpoints have the weights in shards alone, by the run's own settings."""
    if trainer.is_fsdp_enabled:
        return "FULL_STATE_DICT" not in str(trainer.accelerator.state.fsdp_plugin.state_dict_type)
    gathers = "zero_optimization.stage3_gather_16bit_weights_on_model_save"
    return not deepspeed_config(trainer).is_true(gathers)


def save_sharded(trainer: Any, folder: Path) -> None:
    """What `save_model` writes under FSDP 2 and ZeRO-3. Every process must call it.

    The Trainer writes nothing where state dicts are sharded, and says nothing of it; under ZeRO-3 it writes DeepSpeed's
    state instead. In a checkpoint that is meant: its weights lie beside, shard by shard; it gets what else belongs to a
    checkpoint. Everywhere else the model is asked for.

    Args:
        trainer: under FSDP 2 or ZeRO-3.
        folder: where to write.
    """
    in_shards = _in_shards(trainer)
    if trainer.finalized_model is trainer.model:
        if _distributed.is_main():  # it is whole there alone
            trainer._save(str(folder))
    elif in_shards and folder.name.startswith(f"{PREFIX_CHECKPOINT_DIR}-"):
        folder.mkdir(parents=True, exist_ok=True)
        write_sidecar(trainer, folder)
        if trainer.projections and trainer.args.should_save:
            trainer.projections.save(folder)
    else:
        trainer._save(str(folder), state_dict=gathered(trainer.model, folder, keep=trainer.args.should_save))
    _distributed.barrier()  # what is saved is there in every process
