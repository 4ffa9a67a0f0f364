"""The rows of Gemma 2 and 3."""

import pytest

from hf_compress import ShrinkPlan, shrink
from hf_compress.architectures.gemma import Gemma2, Gemma3Text
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
