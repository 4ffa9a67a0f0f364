"""Every row of the table of architectures against a tiny model of its type: modules, config, and what a pass shows."""

import pytest
import torch
from torch import nn

from hf_compress._modules.matrix import matrix_shape
from hf_compress.architectures.architecture import Architecture, architecture_of
from tests.architectures.small import HEADS, HIDDEN, LAYERS, WIDTH, small_batch, small_config, small_model

ROWS = [known() for known in Architecture.available().values()]
pytestmark = pytest.mark.parametrize("architecture", ROWS, ids=lambda row: row.name)


def test_the_modules_are_where_the_row_says_and_as_large_as_the_config_says(architecture):
    model = small_model(architecture)
    assert architecture_of(model) == architecture
    name, blocks = architecture.block_list(model)
    assert model.get_submodule(name) is blocks and len(blocks) == LAYERS
    heads, feed = architecture.attention, architecture.feed_forward
    grouped = HIDDEN // 2 if heads.key_value_heads else HIDDEN
    fused = heads.query == heads.key
    for block in blocks:
        assert matrix_shape(block.get_submodule(heads.query)) == (3 * HIDDEN if fused else HIDDEN, HIDDEN)
        for part in () if fused else (heads.key, heads.value):
            assert matrix_shape(block.get_submodule(part)) == (grouped, HIDDEN)
        assert matrix_shape(block.get_submodule(heads.output)) == (HIDDEN, HIDDEN)
        assert [matrix_shape(block.get_submodule(part)) for part in feed.inputs] == [(WIDTH, HIDDEN)] * len(feed.inputs)
        assert matrix_shape(block.get_submodule(feed.output)) == (HIDDEN, WIDTH)


def test_the_keys_are_those_of_the_config(architecture):
    attention = architecture.attention
    keys = [architecture.num_layers, attention.heads, architecture.feed_forward.width, *architecture.per_layer]
    keys += [attention.key_value_heads] if attention.key_value_heads else []
    written = small_config(architecture).to_dict()
    assert set(keys) <= set(written)
    lists = {key for key, value in written.items() if isinstance(value, list) and len(value) == LAYERS}
    assert lists == set(architecture.per_layer)


def test_a_heads_size_is_the_configs_where_the_row_has_a_key_for_it(architecture):
    key = architecture.attention.head_size
    model = small_model(architecture, **({key: 4} if key else {"head_dim": 4}))
    block = architecture.block_list(model)[1][0]
    _, inputs = matrix_shape(block.get_submodule(architecture.attention.output))
    assert inputs == (4 * HEADS if key else HIDDEN)


def test_norms_are_read_by_the_modules_that_the_row_names_and_by_no_other(architecture):
    model = small_model(architecture)
    block = architecture.block_list(model)[1][1]
    given, gave = {}, {}
    for name, module in block.named_modules():
        if type(module).__name__.endswith("Norm") and not name.endswith(("q_norm", "k_norm")):
            module.register_forward_hook(lambda _, args, output, name=name: gave.update({name: output}))
        elif name and isinstance(getattr(module, "weight", None), nn.Parameter):
            module.register_forward_pre_hook(lambda _, args, name=name: given.update({name: args[0]}))
    with torch.no_grad():
        model(**small_batch(model))
    readers = {
        norm: {name for name, value in given.items() if value.shape == output.shape and torch.equal(value, output)}
        for norm, output in gave.items()
    }
    expected = architecture.norm_readers(model.config)
    assert {norm: names for norm, names in readers.items() if names} == {
        norm: set(names) for norm, names in expected.items()
    }
