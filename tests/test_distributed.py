"""Ranks and barriers in a single process; tests/distributed runs two."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from hf_compress import _distributed
from hf_compress._errors import CompressionError


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


def test_the_work_of_one_process_is_refused_in_several(monkeypatch, tmp_path):
    _distributed.refuse_several("measuring")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(CompressionError, match="measuring is the work of one process, and 4 were started; start it by it"):
        _distributed.refuse_several("measuring")
    _distributed.refuse_group("measuring")  # behind the end of a group the first may go on
    monkeypatch.setattr(_distributed, "membership", lambda: (0, 2))
    with pytest.raises(CompressionError, match="and 2 stand in a process group; call it in one of them behind"):
        _distributed.refuse_group("measuring")


def test_what_all_refuse_the_first_process_says_and_what_one_refuses_that_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    own, of_all = CompressionError("no data here"), CompressionError("no data anywhere")
    of_all.in_all = True
    for rank, said in (("0", True), ("1", False)):
        monkeypatch.setenv("RANK", rank)
        assert _distributed.says(of_all) is said and _distributed.says(own)


def test_a_launchers_store_lets_one_process_say_what_several_refuse_by_themselves(monkeypatch):
    launcher = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(launcher.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in {**place, "WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert _distributed.says(CompressionError("no data")) and _distributed.says(CompressionError("no model"))
    assert not _distributed.says(CompressionError("no data"))


def test_the_error_of_a_connection_whose_other_side_is_gone_is_known(monkeypatch):
    monkeypatch.setattr(_distributed, "_group", lambda: SimpleNamespace(get_world_size=lambda: 2))
    assert _distributed.lost_another(RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:1"))
    assert not _distributed.lost_another(RuntimeError("shapes differ"))


def test_asking_who_we_are_does_not_load_torch():
    code = (
        "import sys; from hf_compress import _distributed as d; d.is_main(); d.barrier(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
