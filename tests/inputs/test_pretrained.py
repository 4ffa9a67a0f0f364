"""What transformers loads by a name, and what it does not."""

import pytest
from transformers import AutoConfig

from hf_compress._errors import CompressionError
from hf_compress.inputs.pretrained import from_pretrained
from tests.small import write_model


def test_a_folder_loads_wherever_home_is(tmp_path, monkeypatch):
    write_model(tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert from_pretrained(AutoConfig, "~/model", "here").model_type == "llama"


def test_a_damaged_config_is_one_sentence_at_its_key(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CompressionError, match=rf"^here: {tmp_path} cannot be loaded: [^\n]+$"):
        from_pretrained(AutoConfig, str(tmp_path), "here")
