"""Layers, stacks and depths are read from the names that real architectures have."""

import re

import pytest

from hf_compress.checkpoints.layers import OUTSIDE_AFTER, OUTSIDE_BEFORE, comes_before, locate


def place(names, name):
    found = locate(names)[name]
    return found.stack, found.layer, found.depth


def numbered(template, count):
    return [template.format(layer) for layer in range(count)]


@pytest.mark.parametrize(
    ("template", "stack"),
    [
        ("model.layers.{}.mlp.up_proj.weight", "model.layers"),
        ("transformer.h.{}.attn.c_attn.weight", "transformer.h"),
        ("h.{}.attn.c_attn.weight", "h"),
        ("bert.encoder.layer.{}.output.dense.bias", "bert.encoder.layer"),
        ("distilbert.transformer.layer.{}.ffn.lin1.weight", "distilbert.transformer.layer"),
        ("gpt_neox.layers.{}.mlp.dense_h_to_4h.weight", "gpt_neox.layers"),
        ("decoder.block.{}.layer.1.DenseReluDense.wi.weight", "decoder.block"),
        ("visual.transformer.resblocks.{}.ln_1.weight", "visual.transformer.resblocks"),
        ("model.layers.{}.mlp.experts.17.up_proj.weight", "model.layers"),
        ("net.{}.weight", "net"),
    ],
)
def test_the_number_below_a_word_for_layers_is_the_layer(template, stack):
    names = numbered(template, 5)
    assert place(names, names[3]) == (stack, 3, 0.75)
    assert place(names, names[0])[2] == 0 and place(names, names[4])[2] == 1


def test_an_encoder_and_a_decoder_are_counted_separately():
    names = numbered("encoder.block.{}.layer.0.layer_norm.weight", 3) + numbered("decoder.block.{}.layer.2.w", 5)
    assert place(names, "encoder.block.1.layer.0.layer_norm.weight") == ("encoder.block", 1, 0.5)
    assert place(names, "decoder.block.1.layer.2.w") == ("decoder.block", 1, 0.25)


def test_layers_in_stages_are_numbered_through():
    names = [
        "resnet.embedder.embedder.convolution.weight",
        *numbered("resnet.encoder.stages.0.layers.{}.layer.0.convolution.weight", 2),
        "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight",
        *numbered("resnet.encoder.stages.1.layers.{}.layer.1.convolution.weight", 3),
        "classifier.1.weight",
    ]
    stack = "resnet.encoder.stages"
    assert place(names, "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight") == (stack, 2, 0.5)
    assert place(names, "resnet.encoder.stages.1.layers.2.layer.1.convolution.weight") == (stack, 4, 1)
    assert place(names, "resnet.embedder.embedder.convolution.weight") == ("", None, 0)
    assert place(names, "classifier.1.weight") == ("", None, 1)


def test_what_belongs_to_a_stage_alone_counts_to_its_first_layer():
    names = ["swin.encoder.layers.0.blocks.0.w", "swin.encoder.layers.1.downsample.w", "swin.encoder.layers.1.blocks.0.w"]
    names += ["swin.encoder.layers.1.blocks.1.w"]
    found = locate(names)
    assert [found[name].layer for name in names] == [0, 1, 1, 2]
    assert all(found[name].staged for name in names)


def test_experts_are_no_layers_even_where_nothing_else_is_numbered():
    assert place(["moe.experts.0.w", "moe.experts.1.w"], "moe.experts.1.w") == ("", None, 1)


def test_one_layer_lies_at_the_end():
    assert place(["model.layers.0.w"], "model.layers.0.w") == ("model.layers", 0, 1)


BEFORE = [
    *("model.embed_tokens.weight", "transformer.wte.weight", "transformer.wpe.weight", "shared.weight"),
    *("bert.embeddings.LayerNorm.weight", "vit.embeddings.cls_token", "vision_model.pre_layrnorm.weight"),
    *("wav2vec2.feature_extractor.conv_layers.0.conv.weight", "model.encoder.conv1.weight", "gpt_neox.embed_in.weight"),
    *("wav2vec2.masked_spec_embed", "model.encoder.layernorm_embedding.weight"),
]
AFTER = [
    *("model.norm.weight", "lm_head.weight", "transformer.ln_f.bias", "bert.pooler.dense.weight", "classifier.weight"),
    *("embed_out.weight", "cls.predictions.decoder.weight", "text_projection.weight", "score.weight", "qa_outputs.bias"),
    *("pre_classifier.weight", "encoder.final_layer_norm.weight", "proj_out.weight", "logit_scale"),
]


@pytest.mark.parametrize("name", BEFORE)
def test_embeddings_and_their_like_come_before_the_layers(name):
    assert comes_before(name)
    assert re.match(OUTSIDE_BEFORE, name) and not re.match(OUTSIDE_AFTER, name)
    assert locate([name, "model.layers.0.w"])[name].depth == 0


@pytest.mark.parametrize("name", AFTER)
def test_norms_poolers_and_heads_come_after_them(name):
    assert re.match(OUTSIDE_AFTER, name) and not re.match(OUTSIDE_BEFORE, name)
    assert locate([name, "model.layers.0.w"])[name].depth == 1


@pytest.mark.parametrize("name", ["model.layers.0.embed.weight", "h.3.w", "encoder.layer.2.attention.position.weight"])
def test_the_patterns_for_what_lies_outside_match_no_layer(name):
    assert not re.match(OUTSIDE_BEFORE, name) and not re.match(OUTSIDE_AFTER, name)
