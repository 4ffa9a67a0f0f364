"""Writing tokens one after the other: the time to the first, and from each to the next."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from hf_compress._quiet import quiet


class _Clock(StoppingCriteria):
    """Notes when each token is there; stops nothing. `generate` asks it after every token."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self.synchronize = synchronize
        self.times: list[float] = []

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        self.synchronize()
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def prompt_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `generate` takes of a batch: a decoder's tokens are its own to write."""
    return {name: value for name, value in batch.items() if not name.startswith("decoder_")}


def time_tokens(
    model: Any, prompt: Mapping[str, Tensor], new_tokens: int, synchronize: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Greedy decoding with the model's cache, by transformers' `generate`.

    The first token is the prefill: the prompt in one pass (and the encoder's, where there is one). Every later one reads
    one token and the cache. That no text ends early is asked for, so that all are equally long.

    Args:
        model: whose `generate` is called.
        prompt: a batch.
        new_tokens: 2 or more.
        synchronize: waits until the device is done.

    Returns:
        Seconds to the first token, and seconds from one token to the next, the mean of the others.
    """
    clock = _Clock(synchronize)
    with torch.no_grad(), quiet():
        synchronize()
        begin = time.perf_counter()
        model.generate(
            **prompt,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            stopping_criteria=StoppingCriteriaList([clock]),
        )
    first = clock.times[0]
    return first - begin, (clock.times[-1] - first) / (len(clock.times) - 1)
