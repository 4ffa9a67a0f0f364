"""Every row of the table of architectures against a tiny model of its type: modules, config, and what a pass shows."""

import pytest
import torch

from hf_compress._modules.matrix import matrix_shape
from hf_compress.architectures.architecture import Architecture, architecture_of
from tests.architectures.small import HEADS, HIDDEN, LAYERS, WIDTH, small_batch, small_config, small_model

ROWS = [known() for known in Architecture.available().values()]
pytestmark = pytest.mark.parametrize("architecture", ROWS, ids=lambda row: row.name)


def test_the_modules_are_where_the_row_says_and_as_large_as_the_config_says(architecture):
    model = small_model(architecture)
    assert architecture_of(model) == architecture
    stacks = architecture.found(model)
    assert [found.stack for found in stacks] == list(architecture.stacks(architecture.counts(model.config)))
    assert len({found.stack.name for found in stacks}) == len(stacks) and (len(stacks) > 1 or not stacks[0].stack.name)
    for found in stacks:
        assert model.get_submodule(found.prefix) is found.blocks and len(found.blocks) == LAYERS
        stack, feed = found.stack, found.stack.feed_forward
        for block in found.blocks:
            for heads in [one for one in (stack.attention, stack.cross_attention) if one]:
                grouped = HIDDEN // 2 if heads.key_value_heads else HIDDEN
                fused = heads.query == heads.key
                assert matrix_shape(block.get_submodule(heads.query)) == (3 * HIDDEN if fused else HIDDEN, HIDDEN)
                for part in () if fused else (heads.key, heads.value):
                    assert matrix_shape(block.get_submodule(part)) == (grouped, HIDDEN)
                assert matrix_shape(block.get_submodule(heads.output)) == (HIDDEN, HIDDEN)
            if feed.experts:
                experts = getattr(architecture.counts(model.config), feed.experts)
                assert [block.get_parameter(part).shape for part in feed.inputs] == [(experts, 2 * WIDTH, HIDDEN)]
                assert block.get_parameter(feed.output).shape == (experts, HIDDEN, WIDTH)
                for part in (stack.experts.router, stack.experts.experts):
                    assert {len(tensor) for tensor in block.get_submodule(part).parameters()} == {experts}
                assert stack.experts.per_token in architecture.counts(model.config).to_dict()
                continue
            inputs = [matrix_shape(block.get_submodule(part)) for part in feed.inputs]
            assert inputs == [(WIDTH, HIDDEN)] * len(feed.inputs)
            assert matrix_shape(block.get_submodule(feed.output)) == (HIDDEN, WIDTH)
        if stack.attention.position_bias:
            assert found.blocks[0].get_submodule(stack.attention.position_bias).weight.shape[1] == HEADS


def test_the_keys_are_those_of_the_config(architecture):
    counts = architecture.counts(small_config(architecture))
    written, per_layer = counts.to_dict(), set()
    for stack in architecture.stacks(counts):
        attention = stack.attention
        keys = [stack.num_layers, attention.heads, stack.feed_forward.width, *stack.per_layer]
        keys += [key for key in (attention.key_value_heads, stack.feed_forward.experts) if key]
        assert set(keys) <= set(written)
        assert stack.cross_attention is None or stack.cross_attention.heads == attention.heads
        per_layer |= set(stack.per_layer)
    lists = {key for key, value in written.items() if isinstance(value, list) and len(value) == LAYERS}
    assert lists == per_layer


def test_a_heads_size_is_the_configs_where_the_row_has_a_key_for_it(architecture):
    counts = architecture.counts(small_config(architecture))
    keys = {stack.attention.head_size for stack in architecture.stacks(counts)}
    (key,) = keys
    model = small_model(architecture, **({key: 4} if key else {"head_dim": 4}))
    for found in architecture.found(model):
        for attention in [one for one in (found.stack.attention, found.stack.cross_attention) if one]:
            _, inputs = matrix_shape(found.blocks[0].get_submodule(attention.output))
            assert inputs == (4 * HEADS if key else HIDDEN)


def test_norms_are_read_by_the_modules_that_the_row_names_and_by_no_other(architecture):
    model = small_model(architecture)
    for found in architecture.found(model):
        given, gave = {}, {}
        for name, module in found.blocks[1].named_modules():
            if type(module).__name__.endswith("Norm") and not name.endswith(("q_norm", "k_norm")):
                module.register_forward_hook(lambda _, args, output, name=name, gave=gave: gave.update({name: output}))
            elif name and next(module.parameters(recurse=False), None) is not None:
                module.register_forward_pre_hook(lambda _, args, name=name, given=given: given.update({name: args[0]}))
        with torch.no_grad():
            model(**small_batch(model))
        readers = {
            norm: {name for name, value in given.items() if torch.equal(value.flatten(0, -2), output.flatten(0, -2))}
            for norm, output in gave.items()
        }
        expected = found.stack.norm_readers
        assert {norm: names for norm, names in readers.items() if names} == {
            norm: set(names) for norm, names in expected.items()
        }


def test_the_heads_of_a_module_that_holds_all_three_lie_as_the_row_says(architecture):
    if not any(stack.attention.query == stack.attention.key for stack in architecture.stacks(small_config(architecture))):
        return
    model = small_model(architecture)
    for found in architecture.found(model):
        attention, size = found.stack.attention, HIDDEN // HEADS
        block, read = found.blocks[1], []
        fused = block.get_submodule(attention.query)
        block.get_submodule(attention.output).register_forward_pre_hook(lambda _, args, read=read: read.append(args[0]))
        values = slice(2 * size, 3 * size) if attention.by_head else slice(2 * HIDDEN, 2 * HIDDEN + size)
        with torch.no_grad():
            model(**small_batch(model))
            fused.bias[values] += 1.0  # of the first head's values, and a weighted mean of them moves alike
            model(**small_batch(model))
        moved = (read[1] - read[0]).flatten(0, -2).mean(0)
        torch.testing.assert_close(moved, (torch.arange(HIDDEN) < size).float(), atol=1e-5, rtol=0)
