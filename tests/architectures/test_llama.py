"""Llama's row, and those of what is built like it."""

from dataclasses import replace

import pytest

from hf_compress.architectures.llama import Llama, Mistral, Qwen2, Qwen3


@pytest.mark.parametrize("row", [Mistral, Qwen2, Qwen3])
def test_the_parts_are_llamas_and_the_kind_of_attention_of_each_layer_is_qwens(row):
    (llama,), (own,) = Llama().stacks(None), row().stacks(None)
    assert own == replace(llama, per_layer=("layer_types",) if row.name.startswith("qwen") else ())


def test_a_block_computes_the_same_at_any_place():
    assert Llama().place_matters(None) == ""
