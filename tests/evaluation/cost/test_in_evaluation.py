"""A section `cost` of a job that evaluates."""

import json

import pytest

from hf_compress.evaluation.cost.report import CostReport
from tests.small import text_rows, write_jsonl
from tests.tiny import tiny_llama, tiny_tokenizer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "rows.jsonl", text_rows(20))
    for seed, name in enumerate("ab"):
        tiny_llama(seed, vocab_size=len(tiny_tokenizer())).save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    return tmp_path


OPTIONS = ("--task", "causal_lm", "--data", "rows.jsonl", "--against", "a", "--set", "task.length=16")


def test_the_report_has_the_costs_of_both_and_reads_back(folder, call):
    cost = "cost={batch: [1], length: [8], rounds: 6, warmup: 0, new_tokens: 2, memory: false, device: cpu}"
    code, out, complaints = call("evaluate", "b", *OPTIONS, "--set", cost)
    assert (code, complaints) == (0, [])
    assert "next token" in out and "perplexity" in out
    plain = json.loads((folder / "b-evaluation" / "report.json").read_text())["cost"]
    assert CostReport.from_plain(plain).to_plain() == plain
    assert [(one["model"], one["what"]) for one in plain["timings"]][:2] == [("a", "forward"), ("b", "forward")]
    assert "## Cost" in (folder / "b-evaluation" / "report.md").read_text()


@pytest.mark.parametrize(
    ("cost", "says"),
    [
        (
            "{length: [64], new_tokens: 2}",
            "cost: length=64 and 2 new_tokens behind it are more than the model's 64 positions",
        ),
        ("{rounds: 2}", "cost: rounds=2: nothing can be said of so few"),
        ("{runtimes: [eagr]}", "did you mean 'eager'"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_rest_before_anything_is_loaded(folder, call, cost, says):
    code, _, complaints = call("evaluate", "b", *OPTIONS, "--set", f"cost={cost}", "--set", "batch_size=0")
    assert code == 2 and not (folder / "b-evaluation").exists()
    assert any(says in line for line in complaints) and any("batch_size" in line for line in complaints), complaints
