"""Who writes, who waits: thin names over torch.distributed that also hold in a single process."""

import os

import torch.distributed as dist


def rank() -> int:
    """The global rank; 0 without a process group, and what the launcher says before one exists."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """True in the one process that logs and writes."""
    return rank() == 0


def barrier() -> None:
    """Wait for every process; nothing in a single one."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.barrier()
