"""Benchmarks of the LM Evaluation Harness: a task of our own, whose numbers are counted by hand."""

import importlib.util
import json

import pytest
import torch

from hf_compress import CausalLM, Harness, ModelEvaluation, evaluate_model
from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.evaluation import harness as home
from hf_compress.evaluation.harness import read
from hf_compress.inputs.sections import Data
from tests.small import text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama, tiny_tokenizer

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs = pytest.mark.skipif(not INSTALLED, reason="needs lm_eval: pip install 'hf-compress[lm-eval]'")
TASK = """\
task: pets
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["cat", "dog", "bird"]
doc_to_target: answer
target_delimiter: " "
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: mcc, aggregation: matthews_corrcoef, higher_is_better: true}}
"""
CHOICES = ("cat", "dog", "bird")
QUESTIONS = [{"question": f"the {row['text'][:20].strip()} is a", "answer": n % 3} for n, row in enumerate(text_rows(12))]


def by_hand(model):
    """The share of questions whose right answer is the likeliest, each answer behind a space."""
    tokenizer, right = tiny_tokenizer(), []
    for row in QUESTIONS:
        scores = []
        for choice in CHOICES:
            before = tokenizer(row["question"], add_special_tokens=False)["input_ids"]
            ids = before + tokenizer(f" {choice}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(sum(logits[at - 1, ids[at]].item() for at in range(len(before), len(ids))))
        right.append(float(scores.index(max(scores)) == row["answer"]))
    return right


@needs
def test_a_benchmark_lands_in_the_report_with_intervals_and_a_sign_test(tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "pets.yaml").write_text(TASK.format(file=tmp_path / "questions.jsonl"))
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    monkeypatch.setattr(home, "task_manager", lambda: manager)
    for seed, name in enumerate("ab"):
        write_model(tmp_path / name, tiny_llama(seed, tie_word_embeddings=False))
    data = Data(path=str(write_jsonl(tmp_path / "rows.jsonl", text_rows())), max_eval=4)
    asked = {"task": CausalLM(length=16), "data": data, "harness": Harness(tasks=("pets",))}
    report = evaluate_model(
        ModelEvaluation(model=str(tmp_path / "b"), against=str(tmp_path / "a"), **asked), tmp_path / "out"
    )
    expected = [by_hand(tiny_llama(seed, tie_word_embeddings=False).eval()) for seed in (0, 1)]
    assert [row.metrics["pets:acc"] for row in report.rows] == pytest.approx([sum(each) / 12 for each in expected])
    known = report.uncertainty["pets:acc"]
    better = sum(new > old for old, new in zip(*expected, strict=True))
    worse = sum(new < old for old, new in zip(*expected, strict=True))
    assert (known.rows, known.sign_test.better, known.sign_test.worse) == (12, better, worse)
    assert "pets:mcc" in report.directions and "pets:mcc" not in report.uncertainty
    assert [note for note in report.notes if note.startswith("pets:mcc: by the harness the standard error is ")]
    assert report.directions["pets:acc"] is True and "pets (12 rows)" in report.setting["harness"]
    assert (
        json.loads((tmp_path / "out" / "report.json").read_text())["rows"][1]["metrics"]["pets:acc"]
        == sum(expected[1]) / 12
    )
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(RecipeError, match="harness.tasks: pets cannot be had: "):
        ModelEvaluation(model=str(tmp_path / "b"), **asked).open()
    with pytest.raises(
        RecipeError, match=r"harness.tasks.0: unknown task of the harness 'petz'; did you mean 'pets'\?.*\n.*tasks.1: "
    ):
        ModelEvaluation(model=str(tmp_path / "b"), **{**asked, "harness": Harness(tasks=("petz", "zoo"))}).open()


@pytest.mark.skipif(INSTALLED, reason="lm_eval is installed")
def test_without_the_package_a_harness_is_refused_with_the_command(tmp_path):
    folder = write_model(tmp_path / "model")
    data = Data(path=str(write_jsonl(tmp_path / "rows.jsonl", text_rows())))
    asked = ModelEvaluation(model=str(folder), task=CausalLM(length=16), data=data, harness=Harness(tasks=("hellaswag",)))
    with pytest.raises(RecipeError, match=r"not installed: pip install 'hf-compress\[lm-eval\]'"):
        asked.open()


def test_numbers_that_are_means_of_rows_have_rows():
    samples = [{"doc_id": n, "filter": "none", "acc": n % 2, "words": (1.0, 2)} for n in (2, 0, 1)]
    found = read(
        {
            "results": {
                "pets": {"alias": "pets", "acc,none": 1 / 3, "acc_stderr,none": 0.2, "words,none": 5.0, "acc,strict": 0.5},
            },
            "higher_is_better": {"pets": {"acc": True, "words": False}},
            "n-samples": {"pets": {"original": 9, "effective": 3}},
            "samples": {"pets": samples},
        }
    )
    assert found.numbers == {"pets:acc": 1 / 3, "pets:words": 5.0, "pets:acc,strict": 0.5}
    assert found.directions == {"pets:acc": True, "pets:words": False, "pets:acc,strict": True}
    assert {key: rows.tolist() for key, rows in found.rows.items()} == {"pets:acc": [0.0, 1.0, 0.0]}
    assert (found.stderr, found.counts) == ({"pets:acc": 0.2}, {"pets": 3})


@pytest.mark.parametrize("wrong", [{"tasks": ()}, {"tasks": ("a",), "limit": 0}, {"tasks": ("a",), "num_fewshot": -1}])
def test_what_runs_nothing_is_refused(wrong):
    with pytest.raises(CompressionError, match="tasks is empty|must be"):
        Harness(**wrong)
