"""A process's peak, against tensors of a known size."""

import subprocess

import pytest

from hf_compress._errors import CompressionError
from hf_compress.evaluation.cost import memory
from tests.tiny import tiny_llama


@pytest.mark.skipif(memory.resident_peak() is None, reason="needs Linux, which tells VmHWM")
def test_a_process_of_its_own_tells_what_loading_and_running_add(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compressed_tensors.py").write_text("raise RuntimeError('run from beside the checkpoint')\n")
    model = tiny_llama(vocab_size=150_000)
    model.save_pretrained(tmp_path)
    found = memory.measure_memory(tmp_path, "AutoModelForCausalLM", "auto", "cpu", 1, 4)
    head = 4 * model.lm_head.weight.numel()  # 19 MB, read in every pass; of the table of embeddings only some rows are
    assert head <= found["peak_bytes"] - found["before_bytes"] <= 8 * head
    assert found["how"] == "VmHWM of a fresh process"


def test_a_process_that_ends_early_is_one_sentence_with_a_way_out(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback\nMemoryError: too much\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(CompressionError, match="batch 8 ended early: MemoryError: too much; take a smaller batch"):
        memory.measure_memory(tmp_path, "AutoModelForCausalLM", "auto", "cpu", 8, 4)


def test_a_system_that_does_not_tell_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "no")
    assert memory.measure_memory(tmp_path, "", "auto", "cpu", 1, 4)["peak_bytes"] is None
