"""The command line: tables, a file, refusals."""

import json

import pytest
import torch

from hf_compress import save_dense
from tests.tiny import tiny_bert


@pytest.fixture
def folder(tmp_path):
    return save_dense(tiny_bert(), tmp_path / "bert")


def test_the_command_prints_tables_and_writes_the_numbers(folder, tmp_path, call, monkeypatch):
    monkeypatch.setattr("hf_compress.evaluation.cost.measure.measure_memory", lambda *_: None)
    options = ("--batch", 1, "--batch", 2, "--length", 8, "--device", "cpu", "--task", "sequence_classification")
    code, out, complaints = call("cost", folder, *options, "--json", tmp_path / "cost.json")
    assert (code, complaints) == (0, [])
    assert "| bert  | eager   | forward | 1 x 8  |" in out and "- threads: 1" in out
    report = json.loads((tmp_path / "cost.json").read_text())
    assert [one["batch"] for one in report["timings"]] == [1, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--runtime", "eagr"), "did you mean 'eager'"),
        (("--batch", "0"), "batch=0 must be 1 or more"),
        (("--batch", "99999999999999999999"), "is more than any machine runs; write at most 16777216"),
        (("--runtime", "eager", "--runtime", "eager"), "runtimes names one twice; name each once"),
        (("--task", "telepathy"), "unknown task 'telepathy'"),
        (("--device", "tpu"), "'tpu'"),
        (("--against", "./nowhere"), "against: there is no folder './nowhere'"),
        (("--json", "no/such/folder.json"), "is in no folder; name a new file"),
        (("--json", "x" * 300), "cannot be written (File name too long); name another place"),
        (("--json", "."), "exists; name a new file"),
    ],
)
def test_a_mistake_is_one_sentence(folder, call, options, says):
    code, _, complaints = call("cost", folder, *options)
    assert code == 2 and len(complaints) == 1 and says in complaints[0]


def test_files_whose_kinds_of_tensors_nobody_can_tell_are_refused_before_anything_is_timed(folder, tmp_path, call):
    model = tiny_bert()
    torch.save(model.state_dict(), tmp_path / "bert" / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    code, _, complaints = call("cost", folder)
    assert code == 2 and "holds no .safetensors file; save the model with save_pretrained first" in complaints[0]
