"""Tokenizers that are there already."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.tokenizers import load_tokenizer
from tests.small import write_model


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="tokenizer: the folder .* holds none"):
        load_tokenizer(str(write_model(tmp_path / "model", tokenizer=False)))
