"""Names, shapes and bytes from headers alone."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from hf_compress._errors import CompressionError
from hf_compress._safetensors import INDEX, open_safetensors, read_entries, weight_files

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


def raw(file, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def entry(begin, end, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data", "said"),
    [
        (b"{", b"", "its header is not valid JSON"),
        (b"\xff\xfe{}", b"", "its header is not valid JSON"),
        ([], b"", "its header is not a mapping"),
        ({"a": {"dtype": "F32"}}, b"", "the header says nothing usable of a"),
        ({"a": entry(0, 8) | {"shape": [-2]}}, bytes(8), "the header says nothing usable of a"),
        ({"a": entry(0, 8, shape=[3])}, bytes(8), r"a is F32 \[3\], and 8 bytes are set aside for it"),
        ({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12), "b overlaps another tensor"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12), "b begins behind a gap"),
        ({"a": entry(0, 4)}, bytes(5), "1 bytes behind the last tensor belong to none"),
        (b'{"a": 1, "a": 2}', b"", "a stands twice in its header"),
        ({"a": 1}, b"", "the header says nothing usable of a"),
        ({"a": None}, b"", "the header says nothing usable of a"),
        ({"__metadata__": 1}, b"", "its __metadata__ is not a mapping from text to text"),
        ({"__metadata__": {"format": 1}}, b"", "its __metadata__ is not a mapping from text to text"),
        (b"\xef\xbb\xbf{}", b"", "its header is not valid JSON"),
        ("{}".encode("utf-16"), b"", "its header is not valid JSON"),
        (b'{"__metadata__": {"a": NaN}}', b"", "NaN stands in its header"),
        (b"[" * 100_000, b"", "its header is not valid JSON"),
        ({"a": entry(0, 0, shape=[0, 2**63])}, b"", "a is F32 .*, more than any file holds"),
        ({"a": entry(0, 4, shape=[2**70])}, bytes(4), "a is F32 .*, more than any file holds"),
    ],
)
def test_a_damaged_header_is_refused_with_what_is_wrong(header, data, said, tmp_path):
    raw(tmp_path / "model.safetensors", header, data)
    for read in (lambda: read_entries(tmp_path), lambda: open_safetensors(tmp_path / "model.safetensors")):
        with pytest.raises(CompressionError, match=f"model.safetensors is damaged: {said}; write or download it again"):
            read()


def test_an_index_and_its_files_must_agree(tmp_path):
    index = tmp_path / INDEX
    for file, name in (("one", "a"), ("two", "b")):
        save_file({name: TENSORS[name]}, tmp_path / f"{file}.safetensors")
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    assert set(read_entries(tmp_path)) == {"a", "b"}
    # What the index does not name is no part of the checkpoint.
    save_file({"a": TENSORS["a"]}, tmp_path / "copy.safetensors")
    assert set(read_entries(tmp_path)) == {"a", "b"}
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "c": "two.safetensors"}}))
    with pytest.raises(CompressionError, match=r"index.json: c should be in two.safetensors and is not; download or write"):
        read_entries(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "three.safetensors"}}))
    with pytest.raises(CompressionError, match=r"index.json names three.safetensors, which is not there"):
        read_entries(tmp_path)
    for content in ("{", "[]", '{"weight_map": 1}', '{"weight_map": {"a": "../elsewhere.safetensors"}}'):
        index.write_text(content)
        with pytest.raises(
            CompressionError, match="index.json is not an index of weight files; download or write it again"
        ):
            read_entries(tmp_path)
    index.unlink()
    with pytest.raises(CompressionError, match=r"a is in copy.safetensors and in one.safetensors of"):
        read_entries(tmp_path)
