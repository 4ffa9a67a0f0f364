"""Where a job writes."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.place import place


def test_a_free_place_is_found_under_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place("~/new") == tmp_path / "new" and not (tmp_path / "new").exists()


def test_a_place_that_is_taken_is_refused_at_its_key(tmp_path):
    with pytest.raises(CompressionError, match=f"^output_dir: {tmp_path} exists already; remove it"):
        place(str(tmp_path))
