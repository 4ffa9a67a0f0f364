"""What one forward pass without memory, or without a trace, shows."""

import random

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, LlamaConfig, LlamaForCausalLM

from hf_compress._forward.dry_run import DryRun, dry_run, failure, skeleton
from tests.tiny import tiny_llama


class Reader(nn.Module):
    """Calls one Linear, computes with the weight of the second by itself, and leaves the third alone."""

    main_input_name = "input_ids"

    def __init__(self, config, gate=False):
        super().__init__()
        self.config, self.gate = config, gate
        self.embed = nn.Embedding(64, 8)
        self.called, self.read, self.idle = (nn.Linear(8, 8) for _ in range(3))
        self.register_buffer("seen", torch.zeros(()))

    def get_input_embeddings(self):
        return self.embed

    def forward(self, input_ids, use_cache=None):
        hidden = self.called(self.embed(input_ids))
        hidden = functional.linear(hidden.to(self.read.weight.dtype), self.read.weight)
        if self.gate and bool(hidden.sum() > 1e9):  # needs a value, so the meta device cannot run it
            return hidden
        self.seen += 1
        torch.rand(3)
        return functional.dropout(hidden, 0.5, self.training)


def modules(model):
    return {name: model.get_submodule(name) for name in ("called", "read", "idle")}


@pytest.mark.parametrize("gate", [False, True], ids=["without memory", "with the model itself"])
def test_called_bypassed_and_untouched_modules_are_told_apart_and_nothing_is_left_behind(gate):
    model = Reader(BertConfig(vocab_size=64), gate).train()
    model.called.training = False
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    assert dry_run(model, modules(model)) == DryRun(called=frozenset({"called"}), bypassed=frozenset({"read"}))
    assert model.seen == 0 and model.training and not model.called.training
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
    assert numpy.random.get_state()[1].tolist() == states[2]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_model_that_cannot_be_probed_shows_nothing():
    assert dry_run(nn.Sequential(nn.Linear(2, 2)), {}) is None

    class Series(Reader):
        main_input_name = "past_values"

    model = Series(BertConfig(vocab_size=64))
    assert dry_run(model, modules(model)) is None


def test_a_pass_that_does_not_end_shows_nothing():
    class Broken(Reader):
        def forward(self, **inputs):
            raise RuntimeError("no")

    model = Broken(BertConfig(vocab_size=64))
    assert dry_run(model, modules(model)) is None and failure(model) == "no"


def test_a_skeleton_has_the_names_shapes_and_type_and_no_memory():
    model = tiny_llama()
    made = skeleton(model, torch.bfloat16)
    assert {name: value.shape for name, value in made.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert all(value.is_meta and value.dtype == torch.bfloat16 for value in made.parameters())
    assert torch.get_default_dtype() == torch.float32
    assert skeleton(nn.Linear(2, 2)) is None


def test_a_layer_that_the_user_replaced_is_watched_in_the_model_itself():
    class Squared(nn.Linear):
        def forward(self, input):
            return functional.linear(input, self.weight**2)

    model = LlamaForCausalLM(LlamaConfig(**tiny_llama().config.to_dict()))
    layer = model.model.layers[0].mlp
    layer.up_proj = Squared(32, 64)
    found = dry_run(model, {"model.layers.0.mlp.up_proj": layer.up_proj})
    assert found == DryRun(called=frozenset({"model.layers.0.mlp.up_proj"}), bypassed=frozenset())
