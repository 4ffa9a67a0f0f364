"""Names, shapes and bytes from headers alone."""

import pytest
import torch
from safetensors.torch import save_file

from hf_compress._errors import CompressionError
from hf_compress._safetensors import read_entries, weight_files

TENSORS = {
    "a": torch.zeros(3, 5, dtype=torch.bfloat16),
    "b": torch.ones(7),
    "c": torch.zeros((), dtype=torch.int8),
    "empty": torch.zeros(0, 4),
}


def test_entries_give_type_shape_and_bytes_of_every_tensor(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    entries = read_entries(tmp_path)
    assert {name: (entry.dtype, entry.shape, entry.num_bytes) for name, entry in entries.items()} == {
        "a": ("BF16", (3, 5), 30),
        "b": ("F32", (7,), 28),
        "c": ("I8", (), 1),
        "empty": ("F32", (0, 4), 0),
    }


def test_shards_are_read_together_and_name_their_file(tmp_path):
    save_file({"a": TENSORS["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": TENSORS["b"]}, tmp_path / "model-00002-of-00002.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert [file.name[:11] for file in weight_files(tmp_path)] == ["model-00001", "model-00002"]
    entries = read_entries(tmp_path)
    assert {name: entry.file.name[:11] for name, entry in entries.items()} == {"a": "model-00001", "b": "model-00002"}


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(CompressionError, match=r"holds no \.safetensors file; save the model with save_pretrained"):
        read_entries(tmp_path)


def test_a_file_cut_off_at_any_byte_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": TENSORS["a"], "b": TENSORS["b"]}, file)
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(CompressionError, match="is truncated"):
            read_entries(tmp_path)


def test_a_pointer_file_in_place_of_weights_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CompressionError, match="header is cut off"):
        read_entries(tmp_path)
