"""Every row of the table of architectures shrunk: against the model with zeros, on disk, and in use."""

import copy
import functools

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress._modules.module_kind import is_transposed
from hf_compress.architectures.architecture import Architecture
from tests.architectures.small import EXPERTS, HEADS, WIDTH, auto_class, small_batch, small_config, small_model

ROWS = [known() for known in Architecture.available().values()]
WRITING = ("CausalLM", "Seq2SeqLM", "SpeechSeq2Seq", "TextToText")
WRITERS = [row for row in ROWS if auto_class(small_config(row)).__name__.endswith(WRITING)]
each = pytest.mark.parametrize("architecture", ROWS, ids=lambda row: row.name)


@functools.cache
def whole(architecture):
    """Shared by all tests; shrinking leaves it as it is."""
    return small_model(architecture)


@functools.cache
def chosen(architecture):
    """Half of everything that this architecture can lose, whichever layers; the first one goes, and so does the last."""
    model, asked = whole(architecture), {"heads": HEADS // 2} if heads_can_go(architecture) else {}
    mixed = any(found.stack.experts for found in architecture.found(model))
    asked |= {"experts": EXPERTS // 2, "feed_forward": WIDTH // 3} if mixed else {"feed_forward": WIDTH // 2}
    plan = ShrinkPlan(layers=[1, 2], **asked)
    return choose_parts(model, plan, [small_batch(model)])


@functools.cache
def half(architecture):
    """What remains; to read."""
    return shrink(whole(architecture), chosen(architecture))


def heads_can_go(architecture):
    stacks = architecture.stacks(architecture.counts(small_config(architecture)))
    return all(stack.attention.head_size for stack in stacks)


def zeroed(model, architecture, choice):
    """The reference: the same model with zeros in the columns that read what goes, and layers that hand on their input."""
    model = copy.deepcopy(model)

    def zero(block, name, places, size):
        module = block.get_submodule(name)
        columns = module.weight.data if is_transposed(module) else module.weight.data.t()
        for place in set(range(columns.shape[0] // size)) - set(places):
            columns[place * size : (place + 1) * size] = 0

    def hand_on(module, args, kwargs, output):
        entered = args[0] if args else kwargs["hidden_states"]
        return (entered, *output[1:]) if isinstance(output, tuple) else entered

    for found, dimensions, kept in zip(architecture.found(model), choice.made_for.stacks, choice.kept.stacks, strict=True):
        stack, size = found.stack, dimensions.head_size * dimensions.per_group
        for place, block in enumerate(found.blocks):
            if place not in kept.layers:
                block.register_forward_hook(hand_on, with_kwargs=True)
                continue
            new = kept.layers.index(place)
            if kept.experts:
                block.get_submodule(stack.experts.router).register_forward_hook(
                    functools.partial(never_routed, sorted(set(range(dimensions.experts)) - set(kept.experts[new])))
                )
            staying = kept.experts[new] if kept.experts else range(dimensions.experts)
            for expert, units in zip(staying, kept.expert_units[new], strict=True) if kept.expert_units else ():
                columns = block.get_parameter(stack.feed_forward.output).data[expert]
                columns[:, sorted(set(range(dimensions.units)) - set(units))] = 0
            if kept.units:
                zero(block, stack.feed_forward.output, kept.units[new], 1)
            for attention, groups in ((stack.attention, kept.groups), (stack.cross_attention, kept.cross_groups)):
                if groups:
                    zero(block, attention.output, groups[new], size)
    return model


def never_routed(gone, router, args, output):
    """What a router says whose logits of these experts are -inf."""
    masked, top = output[0].clone(), router.top_k
    masked[:, gone] = -torch.inf
    weights, places = masked.softmax(-1).topk(top, dim=-1)
    return masked, weights / weights.sum(-1, keepdim=True) if getattr(router, "norm_topk_prob", True) else weights, places


def logits(model, batch):
    with torch.no_grad():
        return model(**batch, **({"use_cache": False} if hasattr(model.config, "use_cache") else {})).logits


@each
def test_a_shrunk_model_computes_what_the_model_does_with_zeros_where_parts_go(architecture):
    model, choice = whole(architecture), chosen(architecture)
    before, batch = {name: value.clone() for name, value in model.state_dict().items()}, small_batch(model)
    small = half.__wrapped__(architecture)
    reference, plain = logits(zeroed(model, architecture, choice), batch), logits(model, batch)
    torch.testing.assert_close(logits(small, batch), reference, atol=1e-5, rtol=1e-5)  # sums in another order
    assert (reference - plain).abs().max() > 1e-2  # what went counted
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("architecture", [row for row in ROWS if not heads_can_go(row)], ids=lambda row: row.name)
def test_heads_whose_size_no_key_says_are_refused(architecture):
    with pytest.raises(CompressionError, match="has no key for the size of a head.*legal for this .*: 4, all of them"):
        choose_parts(whole(architecture), ShrinkPlan(heads=2))


@each
def test_it_is_smaller_by_what_was_said_before(architecture):
    model, choice, small = whole(architecture), chosen(architecture), half(architecture)
    for size, one in ((choice.before, model), (choice.after, small)):
        parameters = list(one.parameters())
        assert size.parameters == sum(parameter.numel() for parameter in parameters)
        assert size.parameter_bytes == 4 * size.parameters
    assert choice.after.parameters < choice.before.parameters and choice.after.macs < choice.before.macs
    shared = {value.data_ptr() for value in model.state_dict().values()}
    assert not shared & {value.data_ptr() for value in small.state_dict().values()}


@each
def test_it_saves_and_loads_with_the_stock_auto_class_to_the_same_bits(architecture, tmp_path):
    model, small = whole(architecture), half(architecture)
    small.save_pretrained(tmp_path)
    loaded, info = auto_class(model.config).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(logits(loaded.eval(), small_batch(model)), logits(small, small_batch(model)))
    weights, other = tmp_path / "model.safetensors", tmp_path / "whole"
    model.save_pretrained(other)
    assert weights.stat().st_size < 0.8 * (other / weights.name).stat().st_size


@pytest.mark.parametrize("architecture", WRITERS, ids=lambda row: row.name)
def test_it_generates_with_a_cache_what_it_would_without_one_and_what_the_model_does_with_zeros(architecture):
    model, small = whole(architecture), half(architecture)
    prompt = small_batch(model, length=5)
    prompt.pop("decoder_input_ids", None)
    length = {"do_sample": False, "min_new_tokens": 6, "max_new_tokens": 12}
    written = [small.generate(**prompt, **length, use_cache=cache) for cache in (True, False)]
    reference = zeroed(model, architecture, chosen(architecture)).generate(**prompt, **length)
    assert torch.equal(*written) and torch.equal(written[0], reference) and reference.shape[1] > 5
    assert small.generation_config.to_dict() == model.generation_config.to_dict()


@each
def test_it_trains(architecture):
    small = copy.deepcopy(half(architecture)).train()
    small(**small_batch(small)).logits.square().sum().backward()
    inside = [parameter for found in architecture.found(small) for parameter in found.blocks.parameters()]
    assert all(parameter.grad is not None for parameter in inside)
