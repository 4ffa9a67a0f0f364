"""A checkpoint, loaded by plain transformers, as a row."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from hf_compress.evaluation.measure import measure_folder
from hf_compress.export.formats.dense import DenseFormat
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.opened import open_inputs
from tests.small import LLAMA, text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama, tiny_tokenizer

TASK = SequenceClassification(length=16)


def test_a_row_has_the_tasks_metrics_of_a_split_and_the_size_on_disk(tmp_path):
    folder = write_model(tmp_path / "model")
    data = Data(path=str(write_jsonl(tmp_path / "train.jsonl", text_rows())))
    opened = open_inputs(str(folder), data, CausalLM(length=16))
    common = {"batch_size": 4, "device": torch.device("cpu")}
    row = measure_folder(opened, folder, "ours", DenseFormat(), train_s=3.0, **common)
    expected = opened.task.evaluate(tiny_llama(), opened.examples["test"], opened.raw["test"], None, 4, "x")
    assert row.metrics == pytest.approx(expected) and (row.name, row.train_s) == ("ours", 3.0)
    assert row.file_bytes == (folder / "model.safetensors").stat().st_size
    other = measure_folder(opened, folder, "ours", DenseFormat(), split="train", **common)
    assert other.metrics["num_tokens"] > row.metrics["num_tokens"]


def test_metrics_of_rows_have_intervals_and_answers(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**LLAMA, vocab_size=len(tiny_tokenizer()), pad_token_id=0))
    model.config.id2label, model.config.label2id = {0: "0", 1: "1"}, {"0": 0, "1": 1}
    folder = write_model(tmp_path / "model", model)
    opened = open_inputs(str(folder), Data(path=str(tmp_path / "train.jsonl"), validation_share=0.4), TASK)
    shown = []
    common = {"batch_size": 4, "device": torch.device("cpu")}
    row = measure_folder(opened, folder, "ours", DenseFormat(), num_shown=3, shown=shown.extend, **common)
    low, high = row.intervals["accuracy"]
    # Of so many rows with or without, by the normal distribution, which is near enough.
    count, share = row.metrics["num_examples"], row.metrics["accuracy"]
    half = 1.96 * math.sqrt(share * (1 - share) / count)
    assert low == pytest.approx(share - half, abs=0.06) and high == pytest.approx(share + half, abs=0.06)
    assert set(row.intervals) == {"accuracy", "macro_f1"}
    rows = opened.raw["test"]
    assert [one.input for one in shown] == [text[:297] + "..." if len(text) > 300 else text for text in rows["text"][:3]]
    assert [one.expected for one in shown] == [str(label) for label in rows["label"][:3]]
    assert row.answers == tuple(one.answer for one in shown) and set(row.answers) <= {"0", "1"}
