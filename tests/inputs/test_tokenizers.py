"""Tokenizers that are there already."""

from types import SimpleNamespace

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.tokenizers import load_tokenizer, tokenizer_of
from tests.small import write_model
from tests.tiny import tiny_tokenizer


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="tokenizer: the folder .* holds no tokenizer"):
        load_tokenizer(str(write_model(tmp_path / "model", tokenizer=False)))


def test_a_tokenizer_is_the_processor_or_inside_it():
    tokenizer = tiny_tokenizer()
    assert tokenizer_of(tokenizer) is tokenizer and tokenizer_of(object()) is None and tokenizer_of(None) is None
    assert tokenizer_of(SimpleNamespace(tokenizer=tokenizer)) is tokenizer
