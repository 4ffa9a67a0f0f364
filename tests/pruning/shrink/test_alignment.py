"""Heads of Whisper's cross-attention that tell the times of words keep their meaning."""

import logging

import pytest
import torch

from hf_compress import ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.whisper import Whisper
from tests.architectures.small import small_model


def whisper(heads):
    model = small_model(Whisper())
    model.generation_config.alignment_heads = heads
    return model


def test_heads_that_stay_are_named_by_their_new_places_and_their_weights_are_the_same(caplog):
    model = whisper([[layer, head] for layer in range(4) for head in range(4)])
    choice = choose_parts(model, ShrinkPlan(hidden=16, heads=2, layers={"decoder": [1, 3]}))
    with caplog.at_level(logging.WARNING):
        small = shrink(model, choice)
    stays = [
        [layer, head] for layer, heads in zip((1, 3), choice.kept.stacks[-1].cross_groups, strict=True) for head in heads
    ]
    assert small.generation_config.alignment_heads == [[0, 0], [0, 1], [1, 0], [1, 1]]
    channels = list(choice.kept.channels)
    for (old, head), (new, place) in zip(stays, small.generation_config.alignment_heads, strict=True):
        before, after = (one.model.decoder.layers for one in (model, small))
        rows = before[old].encoder_attn.q_proj.weight[head * 8 : head * 8 + 8][:, channels]
        assert torch.equal(after[new].encoder_attn.q_proj.weight[place * 8 : place * 8 + 8], rows)
    assert "12 of the 16 heads that the generation config names for times of words (alignment_heads) go" in caplog.text
    assert len(model.generation_config.alignment_heads) == 16


@pytest.mark.parametrize(("heads", "left"), [([[0, 2], [2, 1]], [[1, 1]]), ([[0, 2]], None), (None, None)])
def test_layers_that_go_take_theirs_along(heads, left):
    small = shrink(whisper(heads), ShrinkPlan(layers={"decoder": [1, 2]}))
    assert getattr(small.generation_config, "alignment_heads", None) == left
