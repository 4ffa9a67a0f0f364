"""Who writes, who waits: thin names over torch.distributed that also hold in a single process.

torch is imported only where it is loaded already, because the command line asks who it is before anything else.
"""

import hashlib
import os
import sys
from datetime import timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from hf_compress._errors import CompressionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket Timeout")
"""What gloo says when a process that it waits for has ended."""


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
        CompressionError: what `action` raised in the first process in which it did, which is named where others succeeded.
    """
    return _alike(action, named=True)


def first_alone(action: "Callable[[], Any]") -> None:
    """The first process does it, and all end alike.

    Raises:
        CompressionError: what `action` raised there.
    """
    _alike(lambda: action() if is_main() else None, named=False)


def _alike(action: "Callable[[], Any]", named: bool) -> Any:
    result: Any = None
    refusal: CompressionError | None = None
    try:
        result = action()
    except CompressionError as error:
        refusal = error
    said = gather(None if refusal is None else str(refusal))
    number, message = next(((number, one) for number, one in enumerate(said) if one is not None), (0, None))
    if message is None:
        return result
    if named and None in said:
        message = "\n".join(f"process {number}: {line}" for line in message.splitlines())
    if refusal is None or message != str(refusal):
        cause, refusal = refusal, CompressionError(message)
        refusal.__cause__ = cause
    refusal.in_all = len(said) == world_size()
    raise refusal


def refuse_in_all(message: str) -> NoReturn:
    """Refuse something that every process refuses in the same words.

    Raises:
        CompressionError: always; one process says it.
    """
    error = CompressionError(message)
    error.in_all = True
    raise error


def refuse_several(what: str) -> None:
    """Refuse work that one process does, where a launcher has started several.

    Raises:
        CompressionError: it has.
    """
    if world_size() > 1:
        raise CompressionError(
            f"{what} is the work of one process, and {world_size()} were started; start it by itself, without torchrun or"
            " accelerate launch"
        )


def refuse_group(what: str) -> None:
    """The same where a process group is alive; behind its end one process may go on.

    Raises:
        CompressionError: it is.
    """
    if membership()[1] > 1:
        raise CompressionError(
            f"{what} is the work of one process, and {membership()[1]} stand in a process group; call it in one of them"
            " behind torch.distributed.destroy_process_group()"
        )


def says(error: CompressionError) -> bool:
    """Whether this process is the one to say why the run ends.

    What all refuse the first one says. A process may be alone with a refusal too, and then nobody else says it; torchrun's
    and accelerate's store of a launch tells who was first to have it. Without one each process speaks for itself.
    """
    if error.in_all or world_size() == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return is_main() or not error.in_all
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    attempt, message = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), str(error).encode()
    try:
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=10))
        return int(store.add(f"hf_compress/{attempt}/{hashlib.sha256(message).hexdigest()}", 1)) == 1
    except (RuntimeError, KeyError, ValueError):  # the launcher has ended
        return True


def lost_another(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    if _group() is None or world_size() == 1:
        return False
    from torch.distributed import DistBackendError, DistNetworkError

    if isinstance(error, (DistBackendError, DistNetworkError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _GONE)


def leave() -> None:
    """End the process group, if there is one, when every process has come here."""
    dist = _group()
    if dist is not None:
        dist.barrier()
        dist.destroy_process_group()
