"""FSDP's `cpu_ram_efficient_loading`: the first process loads the model, and the others have it without memory."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate.utils import str_to_bool

from hf_compress import _distributed
from hf_compress._sharding.from_first import lacks_weights, make_room, send_buffers

Result = TypeVar("Result")


def first_loads(args: Any) -> bool:
    """Whether it is asked for, by TrainingArguments that are made or by the launcher.

    transformers hands what the arguments say on to accelerate in the environment, where the launcher puts it too.
    """
    by_launcher = _is_on("ACCELERATE_USE_FSDP")
    return bool((args.fsdp or by_launcher) and _is_on("FSDP_CPU_RAM_EFFICIENT_LOADING")) and _distributed.world_size() > 1


def _is_on(name: str) -> bool:
    return bool(str_to_bool(os.environ.get(name, "false")))


def loaded_in_first(trainer: Any) -> bool:
    """Whether some processes wait for the first one's weights; they get its buffers here. All must call it.

    Args:
        trainer: made by its own class.
    """
    plugin = getattr(trainer.accelerator.state, "fsdp_plugin", None)
    if not getattr(plugin, "cpu_ram_efficient_loading", False) or trainer.model is None:
        return False
    if not any(_distributed.gather(lacks_weights(trainer.model))):
        return False
    send_buffers(trainer.model)
    return True


def alike(trainer: Any, action: Callable[[], Result]) -> Result:
    """What every process does in its own way ends alike in all, where one of them has the weights alone."""
    return _distributed.together(action) if trainer.loaded_in_first else action()  # type: ignore[no-any-return]


def from_first(trainer: Any, action: Callable[[], Result]) -> Result:
    """What needs weights is done where they are, and ends alike in every process.

    Args:
        trainer: whose model it is about.
        action: returns something small.
    """
    if not trainer.loaded_in_first:
        return action()
    found = _distributed.together(lambda: action() if _distributed.is_main() else None)
    return _distributed.gather(found)[0]  # type: ignore[no-any-return]


def ready_to_shard(trainer: Any) -> None:
    """A model without memory, as accelerate shards it."""
    if trainer.loaded_in_first:
        make_room(trainer.model)
