"""Random states that are the same afterwards."""

import contextlib
import random
from collections.abc import Iterator

import numpy
import torch


@contextlib.contextmanager
def random_states_kept(seed: int | None = None) -> Iterator[None]:
    """Whatever the block draws, Python, NumPy and torch (with every GPU in use) go on as if it had not.

    Args:
        seed: what the block itself begins with; None = with the states as they are.
    """
    numbers, legacy = random.getstate(), numpy.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                random.seed(seed)
                numpy.random.seed(seed % 2**32)
                torch.manual_seed(seed)
            yield
        finally:
            random.setstate(numbers)
            numpy.random.set_state(legacy)
