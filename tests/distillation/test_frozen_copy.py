"""Also where a library replaced the forward on the instance; over hosts see tests/training/test_distillation_step.py."""

import functools

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.distillation.frozen_copy import frozen_copy
from tests.tiny import tiny_llama

BATCH = {"input_ids": torch.arange(3, 9).view(1, 6)}


def assert_independent(student):
    copied = frozen_copy(student)
    with torch.no_grad():
        before = copied.eval()(**BATCH).logits
        torch.testing.assert_close(before, student.eval()(**BATCH).logits, rtol=0, atol=0)
        for weight in student.parameters():
            weight.add_(1.0)
        assert torch.equal(copied(**BATCH).logits, before)


def replaced(model):
    original = model.forward
    model.forward = functools.wraps(original)(lambda *args, **kwargs: original(*args, **kwargs))
    return model


def deep_inside(model):
    replaced(model.model.layers[0].mlp)
    return model


def hooked(model):
    from accelerate.hooks import ModelHook, add_hook_to_module

    add_hook_to_module(model, ModelHook())
    return model


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model,
        replaced,
        deep_inside,
        hooked,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: model.compile(backend="eager") or model,
    ],
    ids=["plain", "forward", "a layer's forward", "accelerate", "torch.compile", "compile in place"],
)
def test_a_copy_does_not_follow_the_original(change):
    assert_independent(change(tiny_llama(seed=0)))


def test_no_random_number_is_drawn():
    state = torch.get_rng_state()
    frozen_copy(tiny_llama(seed=0))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_leads_back_to_the_original_is_refused_by_name():
    student = tiny_llama(seed=0)
    student.model.layers[1].mlp.helper = functools.partial(student.lm_head.forward)
    frozen_copy(student)  # bound methods are copied with what they are bound to
    student.model.layers[1].mlp.helper = lambda hidden: student.lm_head(hidden)
    with pytest.raises(CompressionError, match=r"helper of model.layers.1.mlp leads back to the student"):
        frozen_copy(student)


def test_weights_that_are_not_in_memory_are_refused():
    with pytest.raises(CompressionError, match=r"model.embed_tokens.weight is not in memory"):
        frozen_copy(tiny_llama(seed=0).to("meta"))
