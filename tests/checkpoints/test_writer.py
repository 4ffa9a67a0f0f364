"""Headers first: what is written in any order is what safetensors reads."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from hf_compress.checkpoints.source import TensorInfo
from hf_compress.checkpoints.writer import ShardFile, lay_out

TENSORS = {
    "b.weight": torch.arange(12, dtype=torch.float32).view(3, 4),
    "a.flag": torch.tensor([True, False, True]),
    "a.half": torch.arange(5, dtype=torch.bfloat16),
    "scalar": torch.tensor(7, dtype=torch.int64),
    "empty": torch.zeros(0, 4),
}
INFOS = {name: TensorInfo(dtype=tensor.dtype, shape=tuple(tensor.shape)) for name, tensor in TENSORS.items()}


def write(folder, layout):
    for shard in layout.shards:
        file = ShardFile(folder, shard)
        for name in reversed(list(shard.offsets)):
            flat = TENSORS[name].reshape(-1)
            for start in range(len(flat) - 1, -1, -1):  # backwards, one element at a time
                file.write(name, start, flat[start : start + 1])
        file.close()
        assert (folder / shard.file).stat().st_size == shard.num_bytes


def test_a_file_written_backwards_reads_as_the_same_tensors(tmp_path):
    layout = lay_out(INFOS, 10**9, {"note": "ä"})
    write(tmp_path, layout)
    loaded = load_file(tmp_path / "model.safetensors")
    assert set(loaded) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert loaded[name].dtype == tensor.dtype and torch.equal(loaded[name], tensor)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "ä"}


def test_each_tensor_is_aligned_to_its_element_size():
    (shard,) = lay_out(INFOS, 10**9, {}).shards
    assert len(shard.header) % 4096 == 0
    assert all(offset % INFOS[name].dtype.itemsize == 0 for name, offset in shard.offsets.items())


@pytest.mark.parametrize("limit", [1, 10, 40, 60])
def test_no_file_holds_more_than_the_limit_unless_it_is_one_tensor(limit, tmp_path):
    layout = lay_out(INFOS, limit, {})
    for shard in layout.shards:
        size = sum(INFOS[name].num_bytes for name in shard.offsets)
        assert size <= limit or len(shard.offsets) == 1
    write(tmp_path, layout)
    found = {name: file.name for file in tmp_path.iterdir() for name in load_file(file)}
    layout.write_index(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": sum(info.num_bytes for info in INFOS.values())}
    assert index["weight_map"] == found
