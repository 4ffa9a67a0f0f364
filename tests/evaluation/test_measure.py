"""A checkpoint, loaded by plain transformers, as a row."""

import pytest
import torch

from hf_compress.evaluation.measure import measure_folder
from hf_compress.export.formats.dense import DenseFormat
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.opened import open_inputs
from tests.small import text_rows, write_jsonl, write_model
from tests.tiny import tiny_llama


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
