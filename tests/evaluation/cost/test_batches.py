"""Shapes of what a model is measured on."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.evaluation.cost.batches import batch_of, takes_lengths
from tests.tiny import tiny_bert, tiny_hearer, tiny_llama, tiny_t5, tiny_vit, tiny_whisper


@pytest.mark.parametrize(
    ("build", "shapes"),
    [
        (tiny_llama, {"input_ids": (3, 20), "attention_mask": (3, 20)}),
        (tiny_t5, {"input_ids": (3, 20), "attention_mask": (3, 20), "decoder_input_ids": (3, 20)}),
        (tiny_hearer, {"input_values": (3, 2000)}),
        (tiny_vit, {"pixel_values": (3, 3, 8, 8)}),
        (tiny_whisper, {"input_features": (3, 80, 100), "decoder_input_ids": (3, 8)}),
    ],
)
def test_a_batch_has_the_asked_for_shape_and_runs(build, shapes):
    model = build().eval()
    asked = next(iter(shapes.values()))[1] if takes_lengths(model) else None
    batch = batch_of(model, 3, asked)
    assert {name: tuple(value.shape)[: len(shapes[name])] for name, value in batch.items()}.keys() == shapes.keys()
    for name in shapes.keys() - {"input_features", "pixel_values"}:
        assert tuple(batch[name].shape) == shapes[name]
    with torch.no_grad():
        assert len(model(**batch).logits) == 3


def test_only_inputs_that_the_config_leaves_open_have_a_length():
    assert [takes_lengths(build()) for build in (tiny_bert, tiny_hearer, tiny_vit, tiny_whisper)] == [
        True,
        True,
        False,
        False,
    ]


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(CompressionError, match="length=65 is more than the model's 64 positions; write at most 64"):
        batch_of(tiny_llama(), 1, 65)
