"""Tokens, timed by a model that sleeps in every pass."""

import statistics
import time

import pytest

from hf_compress.evaluation.cost.batches import batch_of
from hf_compress.evaluation.cost.decoding import prompt_of, time_tokens
from tests.tiny import tiny_llama, tiny_t5


def test_the_first_token_and_the_later_ones_are_told_apart():
    model = tiny_llama().eval()
    slept = []

    def sleep(module, args, kwargs):
        begin = time.monotonic_ns()
        time.sleep(0.3 if kwargs["input_ids"].shape[1] > 1 else 0.1)
        slept.append((time.monotonic_ns() - begin) / 1e9)

    model.register_forward_pre_hook(sleep, with_kwargs=True)
    first, later = time_tokens(model, batch_of(model, 1, 8), 4)
    assert len(slept) == 4  # the cache: the prompt once, then one token each
    assert first >= slept[0] >= 0.3
    assert later >= statistics.mean(slept[1:]) >= 0.1
    assert first + 3 * later >= sum(slept)
    assert later < slept[0]  # the prompt's pass is not among them


def test_texts_that_would_end_go_on_so_that_all_are_equally_long():
    model = tiny_llama().eval()
    passes = []
    model.generation_config.eos_token_id = list(range(model.config.vocab_size))[1:]
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    time_tokens(model, batch_of(model, 2, 5), 6)
    assert len(passes) == 6


@pytest.mark.parametrize("new_tokens", [3])
def test_an_encoder_runs_once(new_tokens):
    model = tiny_t5().eval()
    encoded, decoded = [], []
    model.get_encoder().register_forward_pre_hook(lambda *_: encoded.append(1))
    model.get_decoder().register_forward_pre_hook(lambda *_: decoded.append(1))
    time_tokens(model, prompt_of(batch_of(model, 1, 8)), new_tokens)
    assert (len(encoded), len(decoded)) == (1, new_tokens)
