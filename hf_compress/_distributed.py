"""Who writes, who waits: thin names over torch.distributed that also hold in a single process.

torch is imported only where it is loaded already, because the command line asks who it is before anything else.
"""

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _group() -> ModuleType | None:
    """torch.distributed when a process group is alive."""
    if "torch" not in sys.modules:
        return None
    import torch.distributed as dist

    return dist if dist.is_available() and dist.is_initialized() else None


def _rank() -> int:
    """The global rank; without a process group what the launcher says, else 0."""
    dist = _group()
    return dist.get_rank() if dist is not None else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    dist = _group()
    return dist.get_world_size() if dist is not None else int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """True in the one process that logs and writes."""
    return _rank() == 0


def barrier() -> None:
    """Wait for every process; nothing in a single one."""
    dist = _group()
    if dist is not None and dist.get_world_size() > 1:
        dist.barrier()


def membership() -> tuple[int, int]:
    """(rank, processes) of the process group that is alive; (0, 1) where there is none, or none any more."""
    dist = _group()
    return (dist.get_rank(), dist.get_world_size()) if dist is not None else (0, 1)


def gather(value: Any) -> list[Any]:
    """A small value of every process, by rank; in a single one its own alone."""
    dist = _group()
    if dist is None or dist.get_world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def broadcast(tensor: "Tensor", source: int) -> None:
    """Every process gets the tensor of the process `source`, in place."""
    dist = _group()
    if dist is not None and dist.get_world_size() > 1:
        dist.broadcast(tensor, source)


def together(action: "Callable[[], Any]") -> Any:
    """Every process does it, and all end alike: what one refuses is raised in all, in the same words.

    Returns:
        What `action` returned here.

    Raises:
        CompressionError: what `action` raised in the first process in which it did.
    """
    result: Any = None
    refusal: CompressionError | None = None
    try:
        result = action()
    except CompressionError as error:
        refusal = error
    message = next((one for one in gather(None if refusal is None else str(refusal)) if one is not None), None)
    if refusal is not None and message == str(refusal):
        raise refusal
    if message is not None:
        raise CompressionError(message) from refusal
    return result


def first_alone(action: "Callable[[], Any]") -> None:
    """The first process does it, and all end alike.

    Raises:
        CompressionError: what `action` raised there.
    """
    together(lambda: action() if is_main() else None)


def leave() -> None:
    """End the process group, if there is one, when every process has come here."""
    dist = _group()
    if dist is not None:
        dist.barrier()
        dist.destroy_process_group()
