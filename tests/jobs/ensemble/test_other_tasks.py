"""Ensembles of every task whose answers are not one class for a row: the member twice measures as the member does."""

import pytest
import torch
import transformers

from hf_compress import Recipe
from hf_compress._registry import dump
from hf_compress.evaluation.compare import read_report
from hf_compress.tasks.task import Task
from tests.contracts.test_tasks import opened, small_task

TASKS = ("token_classification", "question_answering", "masked_lm", "seq2seq", "speech_seq2seq", "ctc")


@pytest.mark.parametrize("name", TASKS)
def test_a_member_twice_measures_as_the_member_does(name, tmp_path):
    task = small_task(Task.available()[name])
    made = opened(task, tmp_path)
    torch.manual_seed(0)
    model = getattr(transformers, made.task.head.auto_class).from_config(made.config)
    made.task.finish_model(model, made.processor)
    for member in ("one", "again"):
        model.save_pretrained(tmp_path / member)
        made.processor.save_pretrained(tmp_path / member)
    plain = {
        "job": "ensemble",
        "members": [{"model": str(tmp_path / member)} for member in ("one", "again")],
        "task": dump(task),
        "data": {"path": str(tmp_path / "data.parquet"), "validation_share": 0.2},
        "latency": None,
        "output_dir": str(tmp_path / "out"),
    }
    done = Recipe.from_plain(plain).run()
    one, again, together = read_report(done.folder).rows
    assert one.metrics == again.metrics
    assert together.metrics == pytest.approx(one.metrics, rel=1e-4, abs=1e-5)
