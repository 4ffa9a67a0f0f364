"""Which row a model has, and what is said where it has none."""

import pytest
from torch import nn

from hf_compress import CompressionError
from hf_compress.architectures.architecture import architecture_of
from tests.architectures.small import model_without_row
from tests.tiny import tiny_gpt2, tiny_llama, tiny_t5


def test_a_model_type_without_a_row_is_refused_with_the_page_that_says_how_to_add_it():
    with pytest.raises(CompressionError, match=r"parts of bloom are is not known .*gpt2.*docs/adding-an-architecture\.md"):
        architecture_of(model_without_row())
    with pytest.raises(CompressionError, match="parts of Linear are is not known"):
        architecture_of(nn.Linear(2, 2))


def test_a_class_that_keeps_its_blocks_elsewhere_is_refused():
    row = architecture_of(tiny_llama())
    with pytest.raises(CompressionError, match="GPT2LMHeadModel has no layers where llama keeps its blocks"):
        row.found(tiny_gpt2())
    with pytest.raises(CompressionError, match=r"no encoder\.block and no decoder\.block where t5 keeps its blocks"):
        architecture_of(tiny_t5()).found(tiny_llama(is_gated_act=False))


def test_the_blocks_of_a_base_model_are_found_without_a_prefix():
    model = tiny_llama()
    assert architecture_of(model).found(model)[0].prefix == "model.layers"
    assert architecture_of(model.model).found(model.model)[0].prefix == "layers"
