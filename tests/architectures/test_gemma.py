"""The rows of Gemma 2 and 3."""

import pytest
import torch

from hf_compress import ShrinkPlan, shrink
from hf_compress.architectures.gemma import Gemma2, Gemma3, Gemma3Text
from tests.architectures.small import small_model


@pytest.mark.parametrize("row", [Gemma2(), Gemma3Text()], ids=lambda row: row.name)
def test_norms_behind_the_parts_are_read_by_no_module(row):
    readers = row.stacks(None)[0].norm_readers
    assert set(readers) == {"input_layernorm", "pre_feedforward_layernorm"}


def test_each_layer_keeps_its_kind_of_attention_and_a_pattern_of_kinds_does_not_come_back():
    small = shrink(small_model(Gemma3Text()), ShrinkPlan(layers=[1, 3]))
    assert small.config.layer_types == ["sliding_attention", "full_attention"]
    written = type(small.config).from_dict(small.config.to_dict())
    assert written.layer_types == small.config.layer_types


def test_of_a_model_that_sees_the_text_model_shrinks_and_it_goes_on_seeing():
    model = small_model(Gemma3())
    for layer in model.model.language_model.layers:
        layer.mlp.down_proj.weight.data[:, 12:] = 0
    small = shrink(model, ShrinkPlan(feed_forward=12))
    assert (small.config.text_config.intermediate_size, small.config.vision_config.intermediate_size) == (12, 8)
    assert model.config.text_config.intermediate_size == 24
    image = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": torch.tensor([[5, 62, 62, 62, 62, 7, 8]]), "pixel_values": image}
    with torch.no_grad():
        torch.testing.assert_close(small(**batch).logits, model(**batch).logits, atol=1e-5, rtol=1e-5)
