"""The batches that a calibration means."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from hf_compress import _distributed
from hf_compress._random import random_states_kept
from hf_compress.calibration.configuration import Calibration


def calibration_batches(rows: Any, collator: Callable[[list[Any]], Any], calibration: Calibration) -> Iterator[Any]:
    """Chosen rows as batches. Of several processes each gets every n-th batch, so that together they have them all.

    The batches depend on the rows and on the calibration alone; what a collator draws is drawn from its seed, and all
    random states go on as if nothing had been drawn.

    Args:
        rows: with a length, read by number.
        collator: examples -> a batch.
        calibration: how many, which, and how many at once.
    """
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(calibration.seed)).tolist()
    chosen, size = order[: calibration.num_examples], calibration.batch_size
    parts = [(start, chosen[start : start + size]) for start in range(0, len(chosen), size)]
    rank, processes = _distributed.membership()
    for start, numbers in parts[rank::processes]:
        with random_states_kept(calibration.seed + start):
            batch = collator([rows[number] for number in numbers])
        yield batch
