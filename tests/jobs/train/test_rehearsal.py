"""What would fail behind the training fails before it."""

import re

import pytest

from hf_compress import CompressionError, Recipe
from hf_compress.jobs.train.plan import Plan
from hf_compress.jobs.train.rehearsal import rehearse
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.training.trainer import CompressionTrainer
from tests.command_line import tree
from tests.small import DROP, VIT_RECIPE, recipe, text_rows, write_images, write_jsonl

RESNET = {
    **VIT_RECIPE,
    "model": {"config": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1]}},
    "pruning": {"targets": ["Conv2d"], "schedule": {"name": "cubic", "final": 0.5, "end": "50%", "every": 1}},
    "quantization": DROP,
    "training.max_steps": 2,
}
DEBERTA = {
    "task.name": "sequence_classification",
    "tokenizer": {"vocab_size": 300},
    "model": {
        "config": {
            "model_type": "deberta",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
        }
    },
    "task.length": 32,
}


def images(tmp_path, changes=None):
    data = {
        "data.path": str(write_images(tmp_path / "data.parquet")),
    }
    return Recipe.from_plain(recipe(tmp_path, {**RESNET, **data, **(changes or {})}))


def no_training(monkeypatch):
    def step(*args, **kwargs):
        raise AssertionError("a step was trained")

    monkeypatch.setattr(CompressionTrainer, "training_step", step)


def test_images_are_measured_in_the_type_of_the_checkpoint(tmp_path, caplog):
    """With the default export.dtype, bfloat16, fp32 pixels met a model in 16 bits behind the training."""
    caplog.set_level("INFO", "hf_compress")
    result = images(tmp_path).run()
    assert [row.name for row in result.report.rows] == ["dense", "compressed without training", "ours"]
    words = result.report.setting["images"]
    assert re.fullmatch(r"8x8 pixels in the data, made 384x384 by ConvNextImageProcessor\w*, 2,304 times the pixels", words)
    assert f"images: {words}" in caplog.messages
    assert "rehearsed: the model can be written in bfloat16, loaded back and measured" in caplog.messages


def test_a_model_that_fails_in_16_bits_is_refused_before_the_first_step(tmp_path, monkeypatch):
    """The reloaded DeBERTa multiplies matrices of two types."""
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    no_training(monkeypatch)
    before = tree(tmp_path)
    with pytest.raises(CompressionError, match=r"export.*bfloat16.*float32"):
        Recipe.from_plain(recipe(tmp_path, DEBERTA)).run()
    assert tree(tmp_path) == before


def test_every_failure_of_the_line_is_one_sentence_that_leaves_nothing(tmp_path, monkeypatch):
    job = images(tmp_path)
    no_training(monkeypatch)
    before = tree(tmp_path)

    def broken(*args, **kwargs):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(type(job.task), "evaluate", broken)
    with pytest.raises(CompressionError, match="so neither could the trained one: first line second line; change"):
        job.run()
    assert tree(tmp_path) == before


def test_the_rehearsal_reads_one_batch_and_leaves_nothing(tmp_path, monkeypatch):
    seen = []
    job = images(tmp_path, {"evaluation.batch_size": 2, "data.validation_share": 0.3})
    evaluate = type(job.task).evaluate

    def count(self, model, split, *rest):
        seen.append(len(split))
        return evaluate(self, model, split, *rest)

    monkeypatch.setattr(type(job.task), "evaluate", count)
    plan = Plan.make(job)
    rehearse(job, plan.opened, RunFolder(job), plan.args.device)
    assert seen == [2] and len(plan.opened.examples["test"]) > 2
    assert not (tmp_path / "out" / ".rows").exists()
