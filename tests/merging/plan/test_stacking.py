"""Layers are stacked: names, sources, config."""

import copy
import re

import pytest
import torch
import transformers
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import Source
from hf_compress.merging.configuration import LayerRange, Member, Merge, Slice
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.plan.parameters import resolve
from hf_compress.merging.plan.stacking import config_by_layer, stack_layers

LLAMA = ("model.embed_tokens.weight", "model.layers.{}.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight")
GPT2 = ("transformer.wte.weight", "transformer.h.{}.ln_1.bias", "transformer.ln_f.weight")
BERT = (
    "bert.embeddings.LayerNorm.bias",
    "bert.encoder.layer.{}.output.dense.bias",
    "bert.pooler.dense.bias",
    "classifier.bias",
)
QWEN_MOE = ("model.embed_tokens.weight", "model.layers.{}.mlp.experts.1.up_proj.weight", "model.norm.weight")
T5 = ("shared.weight", "encoder.block.{}.layer.0.layer_norm.weight", "decoder.block.{}.layer.0.layer_norm.weight")


def names_of(templates, count):
    return [name for text in templates for name in ([text.format(i) for i in range(count)] if "{}" in text else [text])]


def merge_of(*slices, labels=("a", "b"), **fields):
    """Slices as ((label, first, end), ...)."""
    pieces = tuple(
        Slice(sources=tuple(LayerRange(member=label, layers=(first, end)) for label, first, end in piece))
        for piece in slices
    )
    return Merge(members=tuple(Member(label) for label in labels), slices=pieces, **fields)


def stack(merge, templates=LLAMA, count=4, config=None, labels=("a", "b")):
    config = {"num_hidden_layers": count} if config is None else config
    return stack_layers(merge, {label: names_of(templates, count) for label in labels}, dict.fromkeys(labels, config))


@pytest.mark.parametrize(
    ("templates", "key"),
    [(LLAMA, "num_hidden_layers"), (GPT2, "n_layer"), (BERT, "num_hidden_layers"), (QWEN_MOE, "num_hidden_layers")],
)
def test_layers_are_renumbered_and_the_config_counts_them(templates, key):
    merge = merge_of([("a", 0, 3)], [("b", 1, 4)])
    found = stack(merge, templates, config={key: 4, "hidden_size": 8})
    layer = next(text for text in templates if "{}" in text)
    expected = [("a", 0), ("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3)]
    for new, (label, old) in enumerate(expected):
        assert found.places[layer.format(new)] == [(label, layer.format(old))]
    first, *rest = (text for text in templates if "{}" not in text)
    assert found.places[first] == [("a", first)]
    assert all(found.places[name] == [("b", name)] for name in rest)
    assert len(found.places) == len(expected) + 1 + len(rest)
    assert (found.num_layers, found.config) == (6, {key: 6})


def test_several_sources_of_a_slice_are_merged():
    merge = merge_of([("a", 0, 2), ("b", 2, 4)], [("base", 1, 2), ("a", 3, 4)], base="base-model", method=Linear())
    found = stack(merge, labels=("base", "a", "b"))
    layer = LLAMA[1]
    assert found.places[layer.format(1)] == [("a", layer.format(1)), ("b", layer.format(3))]
    assert found.places[layer.format(2)] == [("base", layer.format(1)), ("a", layer.format(3))]
    assert found.places["lm_head.weight"] == [("base", "lm_head.weight"), ("a", "lm_head.weight")]
    members = found.members()
    assert members[layer.format(1)] == ["a", "b"] and members["lm_head.weight"] == ["a"]
    assert resolve(merge, found.places, members)[layer.format(2)].values == {"weight": (1.0,)}


def test_what_the_config_says_layer_by_layer_moves_with_the_layers():
    config = {
        "num_hidden_layers": 4,
        "layer_types": ["sliding", "full", "sliding", "full"],
        "mlp_only_layers": [1],
        "sliding_window_pattern": 2,
        "eos_token_id": [1, 2, 3, 4],
        "architectures": ["X"],
    }
    found = stack(merge_of([("a", 1, 3)], [("b", 1, 4)]), config=config)
    assert found.config == {
        "num_hidden_layers": 5,
        "layer_types": ["full", "sliding", "full", "sliding", "full"],
        "mlp_only_layers": [0, 2],
    }


def test_the_config_of_a_text_model_may_lie_deeper():
    config = {"text_config": {"num_hidden_layers": 4, "hidden_size": 8}, "model_type": "x"}
    found = stack(merge_of([("a", 0, 4)], [("b", 2, 4)]), config=config)
    assert found.config == {"text_config": {"num_hidden_layers": 6, "hidden_size": 8}}


@pytest.mark.parametrize(
    ("kind", "stated", "key", "expected"),
    [
        ("gemma2", {}, "layer_types", ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]),
        ("smollm3", {"no_rope_layer_interval": 2}, "no_rope_layers", [1, 0, 0, 1]),
    ],
)
def test_what_an_older_config_leaves_to_the_numbers_moves_with_the_layers(kind, stated, key, expected):
    source = Source()
    source.config = {"model_type": kind, "num_hidden_layers": 4, **stated}
    found = stack_layers(
        merge_of([("a", 0, 2)], [("a", 1, 3)], labels=("a",)), {"a": names_of(LLAMA, 4)}, {"a": config_by_layer(source)}
    )
    assert found.config[key] == expected


def test_a_folder_without_a_config_is_stacked_without_one():
    assert stack(merge_of([("a", 0, 4)], [("b", 2, 4)]), config={}).config == {}


@pytest.mark.parametrize(
    ("merge", "arguments", "sentence"),
    [
        (merge_of([("a", 0, 5)]), {}, "slices.0: layers [0, 5] go past a, which has 4 layers, 0 to 3"),
        (merge_of([("a", 0, 2)]), {"templates": T5}, "a has 2 stacks of layers (decoder.block, encoder.block)"),
        (merge_of([("a", 0, 1)]), {"templates": ("x.weight",)}, "a has no numbered layers to stack"),
        (
            merge_of([("a", 0, 1)]),
            {"templates": ("e.stages.0.layers.{}.w", "e.stages.1.layers.{}.w")},
            "the layers of a lie in stages of different widths",
        ),
        (merge_of([("a", 0, 1)]), {"config": {"depth": 4}}, "no field of a's config.json says that it has 4 layers"),
        (merge_of([("a", 0, 1)]), {"config": {"num_hidden_layers": 5}}, "no field of a's config.json says that it has 4"),
        (
            merge_of([("a", 0, 2), ("b", 1, 3)]),
            {"config": {"num_hidden_layers": 4, "layer_types": ["s", "f", "s", "f"]}},
            "layer 0 of the result would merge layers of different layer_types: 's' in layer 0 of a, 'f' in layer 1 of b",
        ),
        (
            merge_of([("a", 1, 3)]),
            {"config": {"num_hidden_layers": 4, "sliding_window_pattern": 2}},
            "sliding_window_pattern=2 says by its number what a layer is, and layer 1 would become 0",
        ),
    ],
)
def test_what_cannot_be_stacked_is_refused(merge, arguments, sentence):
    with pytest.raises(CompressionError, match=re.escape(sentence)):
        stack(merge, **arguments)


def test_sources_of_a_slice_need_the_same_tensors():
    names = {"a": names_of(LLAMA, 2), "b": [*names_of(LLAMA, 2), "model.layers.1.mlp.up_proj.bias"]}
    merge = merge_of([("a", 0, 2), ("b", 0, 2)])
    with pytest.raises(
        CompressionError, match="a has no tensor for model.layers.1.mlp.up_proj.bias of the result, and b has"
    ):
        stack_layers(merge, names, {})


def test_other_architectures_cannot_be_stacked_together():
    names = {"a": names_of(LLAMA, 2), "b": names_of(GPT2, 2)}
    with pytest.raises(CompressionError, match="b calls its layers transformer.h, and a model.layers"):
        stack_layers(merge_of([("a", 0, 2)], [("b", 0, 2)]), names, {})


def test_a_per_layer_list_that_another_input_lacks_is_refused():
    names = dict.fromkeys(("a", "b"), names_of(LLAMA, 2))
    configs = {"a": {"num_hidden_layers": 2, "layer_types": ["f", "f"]}, "b": {"num_hidden_layers": 2}}
    with pytest.raises(CompressionError, match="layer_types in the config.json of b has not one entry for each of its 2"):
        stack_layers(merge_of([("a", 0, 2)], [("b", 0, 2)]), names, configs)


def test_an_input_that_no_slice_uses_need_not_say_the_same():
    names = dict.fromkeys(("base", "a"), names_of(LLAMA, 2))
    configs = {"base": {"num_hidden_layers": 2}, "a": {"num_hidden_layers": 2, "layer_types": ["f", "f"]}}
    found = stack_layers(merge_of([("a", 0, 2)], [("a", 1, 2)], labels=("a",), base="x"), names, configs)
    assert found.config == {"num_hidden_layers": 3}


SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 32, "num_hidden_layers": 3}
MODELS = {
    "llama": (
        lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
        "model.layers",
        ["model.norm", "lm_head"],
    ),
    "gpt2": (
        lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=32, tie_word_embeddings=False)
        ),
        "transformer.h",
        ["transformer.ln_f", "lm_head"],
    ),
    "bert": (
        lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES)),
        "bert.encoder.layer",
        ["bert.pooler", "classifier"],
    ),
}


@pytest.mark.parametrize("architecture", MODELS)
def test_a_stacked_model_computes_what_its_layers_compute_one_after_the_other(architecture):
    make, layers, after = MODELS[architecture]
    torch.manual_seed(0)
    models = {label: make().eval() for label in ("a", "b")}
    states = {label: model.state_dict() for label, model in models.items()}
    configs = {label: model.config.to_dict() for label, model in models.items()}
    found = stack_layers(merge_of([("a", 0, 2)], [("b", 1, 3)]), states, configs)
    stacked = type(models["a"])(type(models["a"].config)(**{**configs["a"], **found.config})).eval()
    stacked.load_state_dict({name: states[label][old] for name, [(label, old)] in found.places.items()}, strict=True)
    expected = copy.deepcopy(models["a"])
    parent, _, child = layers.rpartition(".")
    old = [model.get_submodule(layers) for model in models.values()]
    setattr(expected.get_submodule(parent), child, nn.ModuleList([*old[0][:2], *old[1][1:3]]))
    expected.config.num_hidden_layers = 4
    for name in after:
        parent, _, child = name.rpartition(".")
        setattr(expected.get_submodule(parent), child, models["b"].get_submodule(name))
    tokens = torch.arange(8)[None]
    options = {} if architecture == "bert" else {"use_cache": False}
    with torch.no_grad():
        torch.testing.assert_close(stacked(tokens, **options).logits, expected(tokens, **options).logits, rtol=0, atol=0)
