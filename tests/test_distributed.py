"""Ranks and barriers in a single process; tests/distributed runs two."""

import subprocess
import sys

import pytest
import torch.distributed as dist

from hf_compress import _distributed


def test_a_single_process_is_the_main_one(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (_distributed.world_size(), _distributed.is_main()) == (1, True)


def test_before_the_group_exists_the_launcher_says_who_we_are(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (_distributed.world_size(), _distributed.is_main()) == (4, False)


def test_a_living_group_overrules_the_launcher_and_leave_ends_it(monkeypatch, tmp_path):
    if dist.is_initialized():
        pytest.skip("a process group is alive already")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        monkeypatch.setenv("RANK", "3")
        monkeypatch.setenv("WORLD_SIZE", "4")
        assert (_distributed.world_size(), _distributed.is_main()) == (1, True)
        _distributed.barrier()
        _distributed.leave()
        assert not dist.is_initialized()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_without_a_group_nothing_waits_and_leaving_is_allowed():
    assert not dist.is_initialized()
    _distributed.barrier()
    _distributed.leave()
    assert not dist.is_initialized()


def test_asking_who_we_are_does_not_load_torch():
    code = (
        "import sys; from hf_compress import _distributed as d; d.is_main(); d.barrier(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
