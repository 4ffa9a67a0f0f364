"""A model's tensors through files that are mapped."""

import errno
import os

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.training import gathered as module
from hf_compress.training.gathered import gathered
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits


def model():
    """Tied weights, a buffer of each kind, an odd number of bytes, and a type that safetensors does not have."""
    found = tiny_llama(seed=0, tie_word_embeddings=True)
    found.register_buffer("count", torch.tensor(3))
    found.register_buffer("flags", torch.tensor([True, False, True]))
    found.register_buffer("none", torch.empty(0, 4))
    found.register_buffer("turns", torch.polar(torch.ones(3), torch.arange(3.0)))
    return found


def test_every_tensor_comes_back_from_files_that_have_no_name_any_more(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FILE_BYTES", 20_000)  # several
    whole = model()
    found = gathered(whole, tmp_path / "new", keep=True)
    assert_equal_bits(found, whole.state_dict())
    assert found["lm_head.weight"] is found["model.embed_tokens.weight"]
    assert list(tmp_path.iterdir()) == []
    with torch.no_grad():
        found["lm_head.weight"].zero_()  # this process's memory
    assert whole.lm_head.weight.any()
    assert gathered(whole, tmp_path, keep=False) == {}


def test_what_a_killed_process_left_is_replaced(tmp_path):
    left = tmp_path / module.GATHERED / "model-00001-of-00009.safetensors"
    left.parent.mkdir()
    left.write_text("half")
    whole = model()
    assert_equal_bits(gathered(whole, tmp_path, keep=True), whole.state_dict())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_refused_before_anything_is_gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, *[1] * 8)))
    monkeypatch.setattr(module, "whole", lambda *_, **__: pytest.fail("gathered"))
    with pytest.raises(CompressionError, match=r"has 4\.\d+ KB free and the result needs \d+\.\d+ KB"):
        gathered(model(), tmp_path, keep=True)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_on_the_way_is_said_when_all_is_gathered(tmp_path, monkeypatch):
    """The other processes are waiting for this one's part of every tensor."""
    given, whole = [], model()
    write = module.ShardFile.write

    def failing(self, name, start, values):
        if "layers.1" in name:
            raise OSError(errno.ENOSPC, "No space left on device", "file")
        write(self, name, start, values)

    monkeypatch.setattr(module.ShardFile, "write", failing)
    monkeypatch.setattr(module, "whole", lambda part, like: given.append(like) or part)
    with pytest.raises(CompressionError, match="the disk is full; free some space"):
        gathered(whole, tmp_path, keep=True)
    assert len(given) == len({id(tensor) for tensor in whole.state_dict(keep_vars=True).values()})
    assert list(tmp_path.iterdir()) == []
