"""What does not go with FSDP."""

import collections
import os
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import DistributedType, str_to_bool

from hf_compress._modules.plain_model import is_adapted
from hf_compress.calibration.statistic import statistics_of
from hf_compress.tasks.heads import base_model
from hf_compress.training.compression import Compression
from hf_compress.training.rule import Rule
from hf_compress.training.whole_model import is_rebuilt


def fsdp_plugin(trainer: Any) -> Any:
    """The plugin that accelerate shards by; None where FSDP is not asked for."""
    return getattr(trainer.accelerator.state, "fsdp_plugin", None) if getattr(trainer, "is_fsdp_enabled", False) else None


def _is_asked_for(trainer: Any) -> bool:
    """Also where accelerate has no plugin for it any more, because there is nothing to shard over."""
    launched = str_to_bool(os.environ.get("ACCELERATE_USE_FSDP", "false"))
    return bool(getattr(trainer.args, "fsdp", None)) or bool(launched) or fsdp_plugin(trainer) is not None


def _types_of_trained(model: Any) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}


def _looks_at_gradients(compression: Compression) -> bool:
    pruning = compression.pruning
    return pruning is not None and any(one.needs_gradient for one in statistics_of(pruning.needs))


def _saves_buffers(model: Any) -> bool:
    return not {name for name, _ in model.named_buffers()}.isdisjoint(model.state_dict())


def _unties(model: Any) -> bool:
    """An adapter has put something of its own in the place of one of two tied weights."""
    if not is_adapted(model):
        return False
    ends = (getattr(base_model(model), f"get_{which}_embeddings", lambda: None)() for which in ("input", "output"))
    first, second = (getattr(end, "weight", None) for end in ends)
    counts = collections.Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    return first is not second and max(counts.values()) > 1


def _sharding(condition: Callable[[Any], bool]) -> Callable[[Any, Compression], bool]:
    """Anything at all under FSDP, where the trainer is so."""
    return lambda trainer, compression: bool(compression) and fsdp_plugin(trainer) is not None and condition(trainer)


FSDP_RULES: tuple[Rule, ...] = (
    Rule(
        name="a criterion that looks at gradients + FSDP",
        applies=lambda trainer, compression: fsdp_plugin(trainer) is not None and _looks_at_gradients(compression),
        message="the criterion looks at the gradients of single examples, and FSDP adds up those of all processes; prune by"
        " one that looks at weights or inputs, or train with DDP",
    ),
    Rule(
        name="anything + FSDP 1",
        applies=_sharding(lambda trainer: getattr(fsdp_plugin(trainer), "fsdp_version", 2) == 1),
        message="compression under FSDP 1 is not supported, because its parameters are flattened into one; take FSDP 2:"
        " version: 2 in fsdp_config, or fsdp_version: 2 in accelerate's config file",
    ),
    Rule(
        name="anything + FSDP where nothing is sharded",
        applies=lambda trainer, compression: (
            bool(compression)
            and trainer.args.world_size > 1
            and _is_asked_for(trainer)
            and trainer.accelerator.distributed_type != DistributedType.FSDP
        ),
        message="FSDP is asked for, and accelerate shards over accelerators alone: here it would train with DDP in silence;"
        " start a process per GPU, or leave fsdp out",
    ),
    Rule(
        name="anything + FSDP with cpu_ram_efficient_loading + buffers that are saved",
        applies=_sharding(
            lambda trainer: (
                bool(getattr(fsdp_plugin(trainer), "cpu_ram_efficient_loading", False)) and _saves_buffers(trainer.model)
            )
        ),
        message="cpu_ram_efficient_loading sends weights alone, and {model} saves buffers too (statistics of normalisation"
        " layers); set it to false (fsdp_cpu_ram_efficient_loading in accelerate's config file)",
    ),
    Rule(
        name="anything + FSDP 2 + weights that are single numbers",
        applies=_sharding(lambda trainer: any(p.dim() == 0 for p in trainer.model.parameters())),
        message="FSDP 2 shards no parameter without a dimension, and the model has one; make it a tensor of one number, or"
        " train with DDP",
    ),
    Rule(
        name="anything + FSDP 2 + weights of several types",
        applies=_sharding(
            lambda trainer: trainer.accelerator.mixed_precision == "no" and len(_types_of_trained(trainer.model)) > 1
        ),
        message="FSDP 2 shards weights of one type together, and those that are trained have several; load the model with"
        " dtype=torch.float32",
    ),
    Rule(
        name="anything + FSDP 2 + an adapter that takes tied weights apart",
        applies=_sharding(lambda trainer: _unties(trainer.model)),
        message="FSDP 2 shards tied weights together, and the adapter has a copy of its own in the place of one of them"
        " (modules_to_save); leave it out, load the model with tie_word_embeddings=False, or train with DDP or ZeRO",
    ),
    Rule(
        name="anything + FSDP 2 + a model that its config does not make",
        applies=_sharding(lambda trainer: not is_adapted(trainer.model) and not is_rebuilt(trainer.model)),
        message="a sharded model is put together again from its class and its config, and {model} is more than they make;"
        " train with DDP",
    ),
)
