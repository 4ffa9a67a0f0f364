"""A checkpoint, loaded by plain transformers, as a row."""

import math

import numpy
import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from hf_compress.evaluation.kept import Kept
from hf_compress.evaluation.measure import intervals_of, measure_folder, without_intervals
from hf_compress.evaluation.rows import Row
from hf_compress.export.formats.dense import DenseFormat
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.metrics.builtin.spearmanr import SpearmanR
from hf_compress.tasks.metrics.metric import Metric
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


def test_perplexity_has_the_interval_of_resampled_blocks(tmp_path):
    folder = write_model(tmp_path / "model")
    data = Data(path=str(write_jsonl(tmp_path / "train.jsonl", text_rows())))
    opened = open_inputs(str(folder), data, CausalLM(length=16))
    row = measure_folder(opened, folder, "ours", DenseFormat(), batch_size=4, device=torch.device("cpu"))
    model = tiny_llama().eval()
    with torch.no_grad():  # the head's own loss is the mean over the block
        ids = [torch.tensor([block]) for block in opened.examples["test"].with_format(None)["input_ids"]]
        nll = numpy.array([15 * model(input_ids=one, labels=one).loss.item() for one in ids])
    drawn = numpy.random.default_rng(0).integers(len(nll), size=(1000, len(nll)))
    means = nll[drawn].sum(1) / (15 * len(nll))
    assert len(nll) > 10 and set(row.intervals) == {"perplexity", "nll"}
    assert row.intervals["nll"] == pytest.approx(tuple(numpy.quantile(means, [0.025, 0.975])), rel=1e-5)
    assert row.intervals["perplexity"] == pytest.approx(tuple(numpy.quantile(numpy.exp(means), [0.025, 0.975])), rel=1e-5)


def test_what_is_computed_anew_of_every_resample_has_an_interval_where_that_is_quick():
    kept, generator = Kept(), numpy.random.default_rng(0)
    right = generator.normal(size=30)
    kept.compute((right + generator.normal(size=30)).tolist(), right.tolist())

    class Slow(SpearmanR):
        name = "slow"
        quick = False

    found = {"spearmanr": SpearmanR().compute(kept.predictions, kept.references)["spearmanr"]}
    known = intervals_of(kept, found, [SpearmanR()])
    assert set(known) == {"spearmanr"} and known["spearmanr"][0] < found["spearmanr"] < known["spearmanr"][1]
    assert intervals_of(kept, {"slow": found["spearmanr"]}, [Slow()]) == {}
    assert Metric.available()["hub"].quick is False


def test_a_report_says_which_of_its_numbers_have_no_interval():
    with_one = Row(name="a", metrics={}, file_bytes=1, intervals={"f1": (0.0, 1.0)})
    without = Row(name="b", metrics={}, file_bytes=1)
    assert without_intervals(("f1",), [with_one]) == () and without_intervals((), [without]) == ()
    assert without_intervals(("loss", "f1"), [with_one, without])[0].startswith("No interval: loss, f1; it takes two rows")


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
