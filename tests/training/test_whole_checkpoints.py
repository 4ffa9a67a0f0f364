"""A checkpoint is whole when every process has written its part."""

import json
import shutil
from types import SimpleNamespace

import pytest

from hf_compress._errors import CompressionError
from hf_compress.training.checkpoints import last_whole_checkpoint, note_inexact, where_to_begin
from hf_compress.training.sharded_checkpoint import missing_shard
from tests.training.runs import arguments, llama_trainer

EMPTY = b"PK\x05\x06" + bytes(18)
"""The shortest file that is one for torch and whole."""


def write(folder, step, processes, ranks, optimizer=True):
    place = folder / f"checkpoint-{step}"
    place.mkdir()
    (place / "trainer_state.json").write_text("{}")
    if processes is not None:
        (place / "compression.json").write_text(json.dumps({"processes": processes}))
    if optimizer:
        (place / "optimizer.pt").write_bytes(EMPTY)
    for rank in ranks:
        (place / ("rng_state.pth" if rank is None else f"rng_state_{rank}.pth")).write_bytes(EMPTY)
    return place


@pytest.mark.parametrize(
    ("processes", "ranks", "whole"),
    [
        (2, (0, 1), True),
        (2, (0,), False),
        (2, (1,), False),
        (4, (0, 1), False),
        (1, (None,), True),
        (None, (None,), True),
    ],
)
def test_what_is_whole_by_hand(processes, ranks, whole, tmp_path, caplog):
    place = write(tmp_path, 3, processes, ranks)
    assert last_whole_checkpoint(tmp_path, arguments(tmp_path)) == (place if whole else None)
    assert ("has no random state of process" in caplog.text) is not whole


def test_a_plain_trainers_checkpoint_is_judged_by_the_processes_of_this_run(tmp_path, monkeypatch):
    args = arguments(tmp_path)
    place = write(tmp_path, 3, None, (0,))
    assert last_whole_checkpoint(tmp_path, args) == place
    monkeypatch.setattr(type(args), "world_size", 2)
    assert last_whole_checkpoint(tmp_path, args) is None
    (place / "rng_state_1.pth").write_bytes(EMPTY)
    assert last_whole_checkpoint(tmp_path, args) == place


def test_with_a_disk_per_machine_only_its_own_processes_count(tmp_path, monkeypatch):
    args = arguments(tmp_path, save_on_each_node=True)
    place = write(tmp_path, 3, 4, (2, 3))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(type(args), "process_index", 3)
    monkeypatch.setattr(type(args), "local_process_index", 1)
    assert last_whole_checkpoint(tmp_path, args) == place


def test_going_on_with_another_number_of_processes_is_said(tmp_path, caplog):
    note_inexact(write(tmp_path, 3, 1, (None,)), arguments(tmp_path))
    assert not caplog.text
    note_inexact(write(tmp_path, 6, 2, (0, 1)), arguments(tmp_path))
    assert "was written by 2 processes and this run has 1: it goes on, with other batches" in caplog.text


def test_without_the_optimizer_a_checkpoint_is_whole_only_for_who_does_not_need_it(tmp_path):
    place = write(tmp_path, 3, 1, (), optimizer=False)
    assert last_whole_checkpoint(tmp_path) == place
    assert last_whole_checkpoint(tmp_path, needs_optimizer=True) is None


def test_going_on_without_the_optimizer_is_said(tmp_path, caplog):
    note_inexact(write(tmp_path, 3, 1, (), optimizer=False), arguments(tmp_path))
    assert "has no optimizer state (save_only_model): the run goes on with a fresh optimizer" in caplog.text


def test_deepspeeds_state_is_whole_when_every_process_has_written_its_part(tmp_path, caplog):
    place = write(tmp_path, 3, 2, (0, 1), optimizer=False)
    assert last_whole_checkpoint(tmp_path, needs_optimizer=True) is None, "DeepSpeed names what it has written at the end"
    (place / "latest").write_text("global_step3\n")
    state = place / "global_step3"
    state.mkdir()
    (state / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt").write_bytes(EMPTY)
    assert last_whole_checkpoint(tmp_path) is None and "lacks process 1's part of DeepSpeed's state" in caplog.text
    (state / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").write_bytes(EMPTY)
    assert last_whole_checkpoint(tmp_path) is None and "lacks the model in DeepSpeed's state" in caplog.text
    (state / "mp_rank_00_model_states.pt").write_bytes(EMPTY)
    assert last_whole_checkpoint(tmp_path, needs_optimizer=True) == place


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
@pytest.mark.parametrize("size", [0, 0.5])
def test_a_file_that_lacks_its_end_is_found(name, size, trained, tmp_path, caplog):
    shutil.copytree(trained / "checkpoint-1", tmp_path / "checkpoint-1")
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-1"
    file = tmp_path / "checkpoint-1" / name
    file.write_bytes(file.read_bytes()[: int(size * file.stat().st_size)])
    assert last_whole_checkpoint(tmp_path) is None
    assert f"has no whole {'weights' if name.startswith('model') else name}" in caplog.text
    with pytest.raises(CompressionError, match="has no whole .*; name a checkpoint that was written to its end"):
        where_to_begin(str(tmp_path / "checkpoint-1"), SimpleNamespace(args=arguments(tmp_path)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "trainer_state.json").write_text("torn")
    (folder / "checkpoint-1" / "left_over.pt").write_bytes(EMPTY)
    llama_trainer(folder, {}, max_steps=1, save_steps=1).train()
    return folder


def test_a_checkpoint_is_written_where_no_part_of_an_earlier_one_is_left(trained):
    """Old and new files could pass for a whole one together, when the run is killed again."""
    assert not (trained / "checkpoint-1" / "left_over.pt").exists()
    assert last_whole_checkpoint(trained) == trained / "checkpoint-1"


def test_an_index_of_shards_that_cannot_be_read_is_one_that_is_not_there(tmp_path):
    folder = tmp_path / "optimizer_0"
    folder.mkdir()
    (folder / ".metadata").write_bytes(b"\x80\x04\x95")
    assert missing_shard(folder) == "optimizer_0/.metadata"
