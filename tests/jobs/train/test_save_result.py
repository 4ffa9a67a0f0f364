"""A run written in Python ends with the folder that a recipe's run would have left."""

import dataclasses
import functools
import json
import math

import numpy
import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from transformers import (
    AutoModelForCausalLM,
    Seq2SeqTrainingArguments,
    Trainer,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from hf_compress import (
    CompressionError,
    CompressionMixin,
    CompressionSeq2SeqTrainer,
    CompressionTrainer,
    Quantization,
    quantize,
    save_result,
)
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.report import findings
from hf_compress.export.card.render import render_card
from hf_compress.export.formats.dense import DenseFormat
from hf_compress.jobs.train.measure import Measure
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.classification import decode_classes
from hf_compress.tasks.metrics.counted import Counted
from tests.tiny import tiny_bert, tiny_llama, tiny_t5, tiny_tokenizer
from tests.training.runs import arguments, llama_trainer, pruning, text_rows

FILES = {
    "README.md",
    "compression.json",
    "config.json",
    "model.safetensors",
    "report.json",
    "report.md",
    "report.png",
    "report.html",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    start = tiny_llama(seed=1)
    dense = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    trainer = llama_trainer(place / "checkpoints", model=start, save_strategy="no")
    trainer.train()
    report = save_result(trainer, place / "result", examples=text_rows(count=8, seed=5), dtype="float32", title="mine")
    return place / "result", report, dense, trainer


def by_hand(model, rows):
    """The exponential of the mean negative log-likelihood over every predicted token."""
    total = count = 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        with torch.no_grad():
            logits = model.eval()(input_ids=ids).logits[0, :-1].double()
        total -= logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum().item()
        count += ids.shape[1] - 1
    return math.exp(total / count)


def test_the_folder_holds_checkpoint_report_manifest_and_card(run):
    folder, report, _, _ = run
    assert {file.name for file in folder.iterdir()} >= FILES
    assert [row.name for row in report.rows] == ["dense", "compressed without training", "ours"]
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]


def test_rows_are_what_plain_transformers_measures_on_the_folder_and_on_the_dense_weights(run):
    folder, report, dense, _ = run
    rows = text_rows(count=8, seed=5)
    ours = by_hand(AutoModelForCausalLM.from_pretrained(folder), rows)
    assert report.rows[2].metrics["perplexity"] == pytest.approx(ours, rel=1e-6)
    before = tiny_llama(seed=2)
    before.load_state_dict(dense)
    assert report.rows[0].metrics["perplexity"] == pytest.approx(by_hand(before, rows), rel=1e-6)


def test_sparsity_size_and_time_are_measured(run):
    folder, report, _, trainer = run
    ours = report.rows[2]
    assert ours.sparsity == pytest.approx(0.5, abs=1e-3)
    assert ours.file_bytes == (folder / "model.safetensors").stat().st_size < report.rows[0].file_bytes
    assert ours.train_s == trainer.train_s()
    # The run's own clock starts and stops a little behind the Trainer's.
    assert -1 < ours.train_s - trainer.state.log_history[-1]["train_runtime"] < 5


def test_the_card_renders_from_the_manifest_and_is_read_by_the_hub(run):
    folder, report, _, _ = run
    manifest = Manifest.read(folder)
    text = (folder / "README.md").read_text()
    assert text == render_card(manifest, findings(report))
    data = ModelCard(text).data.to_dict()
    assert data["pipeline_tag"] == "text-generation" and "base_model" not in data
    assert "from transformers import LlamaForCausalLM\n" in text
    assert manifest.recipe["pruning"]["schedule"]["final"] == 0.5
    assert manifest.recipe["training"]["learning_rate"] == 0.01
    assert str(folder.parent) not in json.dumps(manifest.to_plain()) + text


def test_names_to_ignore_that_match_nothing_are_said_once_for_trainer_and_result(tmp_path, caplog):
    slip = ["re:.*down_prj", "re:.*lm_head"]
    with caplog.at_level("INFO"):
        start = tiny_llama(seed=1)
        trainer = llama_trainer(
            tmp_path / "checkpoints",
            jobs={
                "pruning": dataclasses.replace(pruning(), ignore=slip),
                "quantization": Quantization(scheme="W8A8", ignore=slip),
            },
            model=start,
            save_strategy="no",
        )
        trainer.train()
        save_result(trainer, tmp_path / "result", examples=text_rows(count=4), baseline=tiny_llama(seed=1))
    for setting in ("pruning", "quantization"):
        assert caplog.text.count(f"{setting}.ignore: 're:.*down_prj' matches no module") == 1


def test_without_a_dense_model_the_report_says_so(tmp_path, caplog):
    trainer = llama_trainer(tmp_path / "checkpoints", jobs={"pruning": pruning()}, save_strategy="no")
    trainer.train()
    report = save_result(trainer, tmp_path / "result", examples=text_rows(count=4))
    assert [row.name for row in report.rows] == ["ours"]
    assert "the dense weights are gone" in caplog.text
    assert "dense model: not measured" in (tmp_path / "result" / "report.md").read_text()
    assert "no dense model was measured beside it" in (tmp_path / "result" / "README.md").read_text()


def test_a_classifier_is_measured_by_the_trainers_own_metrics(tmp_path):
    rows = [{"input_ids": [3 + n % 9, 4, 5], "labels": n % 3} for n in range(12)]

    def share_right(prediction):
        return {"accuracy": float(numpy.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}

    trainer = CompressionTrainer(
        model=tiny_bert(),
        args=arguments(tmp_path / "checkpoints", save_strategy="no", max_steps=4),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        compute_metrics=share_right,
        processing_class=tiny_tokenizer(),
        pruning=pruning(),
    )
    trainer.train()
    report = save_result(trainer, tmp_path / "result", baseline=tiny_bert())
    assert report.metric == "accuracy" and report.greater_is_better
    note = "No interval: accuracy; it takes two rows or more, and a number that is known to be made of what each row adds."
    assert report.notes == (note,)
    for name in ("README.md", "report.md", "report.html"):
        assert note in (tmp_path / "result" / name).read_text()
    model = type(trainer.model).from_pretrained(tmp_path / "result").eval()
    with torch.no_grad():
        answers = [int(model(input_ids=torch.tensor([row["input_ids"]])).logits.argmax()) for row in rows]
    expected = sum(answer == row["labels"] for answer, row in zip(answers, rows, strict=True)) / len(rows)
    assert report.rows[-1].metrics["accuracy"] == pytest.approx(expected)
    assert (tmp_path / "result" / "tokenizer.json").exists()


def test_the_librarys_own_metrics_have_intervals_in_a_trainer_too(tmp_path):
    rows = [{"input_ids": [3 + n % 9, 4, 5], "labels": n % 3} for n in range(12)]
    known = Counted([Accuracy()], decode_classes)
    trainer = CompressionTrainer(
        model=tiny_bert(),
        args=arguments(tmp_path / "checkpoints", save_strategy="no"),
        eval_dataset=Dataset.from_list(rows),
        compute_metrics=known,
        pruning=pruning(),
    )
    trainer.model.save_pretrained(tmp_path / "model")
    row = Measure(trainer, trainer.model, trainer.eval_dataset, None).row(tmp_path / "model", "x", DenseFormat())
    with torch.no_grad():
        logits = torch.cat([trainer.model.eval()(input_ids=torch.tensor([one["input_ids"]])).logits for one in rows])
    right = (logits.argmax(-1) == torch.tensor([one["labels"] for one in rows])).double().numpy()
    shares = right[numpy.random.default_rng(0).integers(12, size=(1000, 12))].mean(1)
    assert row.metrics["accuracy"] == pytest.approx(right.mean()) and 0 < right.mean() < 1
    assert row.intervals == {"accuracy": pytest.approx(tuple(numpy.quantile(shares, [0.025, 0.975])))}
    assert [metric.name for metric in known.metrics] == ["accuracy"], "the trainer's own is as it was"


@pytest.mark.parametrize("own", ["metrics", "metrics of reduced logits", "perplexity alone"])
def test_a_causal_model_is_run_once_over_the_examples_whatever_is_measured(own, tmp_path, monkeypatch):
    def reduced(logits, labels):
        return logits.argmax(-1)

    def share_right(prediction):
        best = prediction.predictions if own.endswith("logits") else prediction.predictions.argmax(-1)
        return {"accuracy": float(numpy.mean(best[:, :-1] == prediction.label_ids[:, 1:]))}

    trainer = llama_trainer(tmp_path / "checkpoints", jobs={"pruning": pruning()}, save_strategy="no", max_steps=2)
    if own.startswith("metrics"):
        trainer.compute_metrics = share_right
    if own.endswith("logits"):
        trainer.preprocess_logits_for_metrics = reduced
    trainer.model.save_pretrained(tmp_path / "model")
    rows, ran = text_rows(count=5, seed=5), []
    measure = Measure(trainer, trainer.model, rows, None)
    forward = type(trainer.model).forward

    @functools.wraps(forward)
    def counted(self, *args, **values):
        ran.append(1)
        return forward(self, *args, **values)

    monkeypatch.setattr(type(trainer.model), "forward", counted)
    row = measure.row(tmp_path / "model", "x", DenseFormat())
    assert len(ran) == 1  # five rows are one batch of eight
    monkeypatch.undo()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert row.metrics["perplexity"] == pytest.approx(by_hand(model, rows), rel=1e-6)
    low, high = row.intervals["perplexity"]
    assert low < row.metrics["perplexity"] < high and set(row.intervals) == {"perplexity", "nll"}
    assert row.metrics["num_tokens"] == 5 * 11 and ("accuracy" in row.metrics) == own.startswith("metrics")


def test_what_cannot_be_a_result_is_refused_before_anything_is_written(tmp_path):
    trainer = llama_trainer(tmp_path / "checkpoints", save_strategy="no")
    trainer.eval_dataset = None
    out = tmp_path / "result"
    with pytest.raises(CompressionError, match="the trainer has no eval_dataset; pass examples"):
        save_result(trainer, out)
    with pytest.raises(CompressionError, match="takes a CompressionTrainer"):
        save_result(Trainer(model=tiny_llama(), args=arguments(tmp_path / "plain")), out)
    with pytest.raises(CompressionError):  # not trained yet
        save_result(trainer, out, examples=text_rows(count=2))
    (tmp_path / "occupied").mkdir()
    with pytest.raises(CompressionError, match="exists already"):
        save_result(trainer, tmp_path / "occupied", examples=text_rows(count=2))
    with pytest.raises(CompressionError, match="cannot be loaded as LlamaForCausalLM"):
        save_result(trainer, out, examples=text_rows(count=2), baseline=str(tmp_path / "nowhere"))
    assert not out.exists()


def test_an_unknown_metric_names_the_known_ones(tmp_path):
    trainer = llama_trainer(tmp_path / "checkpoints", jobs={"pruning": pruning()}, save_strategy="no")
    trainer.train()
    with pytest.raises(CompressionError, match="perplexty.*did you mean 'perplexity'"):
        save_result(trainer, tmp_path / "result", examples=text_rows(count=2), metric="perplexty")
    assert not (tmp_path / "result").exists()


def test_report_and_card_say_what_generating_from_quantized_activations_asks(tmp_path):
    rows = [{"input_ids": [3 + n % 9, 4, 5], "labels": [4, 5, 1]} for n in range(8)]
    trainer = CompressionTrainer(
        model=tiny_t5(),
        args=arguments(tmp_path / "checkpoints", save_strategy="no", max_steps=2),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        quantization=Quantization(scheme="W8A8", begin="0%"),
    )
    trainer.train()
    report = save_result(trainer, tmp_path / "result", baseline=tiny_t5(), untrained=False)
    assert "call model(...) once before generate()" in report.loading
    assert f"Mind: {report.loading}.\n\n## What was done" in (tmp_path / "result" / "README.md").read_text()
    assert f"To load the last row: {report.loading}.\n\n## Setting" in (tmp_path / "result" / "report.md").read_text()
    loaded = type(trainer.model).from_pretrained(tmp_path / "result").eval()
    ids = torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        loaded(input_ids=ids, decoder_input_ids=ids)
    assert torch.equal(loaded.generate(ids, max_new_tokens=3), trainer.model.eval().generate(ids, max_new_tokens=3))


def test_what_failed_is_mended_and_tried_again(tmp_path):
    trainer = llama_trainer(tmp_path / "checkpoints", save_strategy="no")
    trainer.model.generation_config.temperature = 0.7
    trainer.frozen_copy.generation_config.temperature = 0.7
    trainer.train()
    out, examples = tmp_path / "result", text_rows(count=4)
    with pytest.raises(CompressionError, match="do_sample = True"):
        save_result(trainer, out, examples=examples, dtype="bfloat16")
    trainer.model.generation_config.do_sample = True
    with pytest.raises(CompressionError, match="finalized with dtype='bfloat16'.*pass dtype='bfloat16'"):
        save_result(trainer, out, examples=examples)
    report = save_result(trainer, out, examples=examples, dtype="bfloat16")
    assert len(report.rows) == 3


def test_the_trained_model_is_no_baseline(tmp_path):
    trainer = llama_trainer(tmp_path / "checkpoints", jobs={"pruning": pruning()}, save_strategy="no")
    with pytest.raises(CompressionError, match="baseline is the model that was trained.*copy.deepcopy"):
        save_result(trainer, tmp_path / "result", baseline=trainer.model)
    with pytest.raises(CompressionError, match="baseline is a BertForSequenceClassification"):
        save_result(trainer, tmp_path / "result", baseline=tiny_bert())
    quantized = tiny_llama()
    quantize(quantized, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match="baseline is quantized"):
        save_result(trainer, tmp_path / "result", baseline=quantized)


def test_a_packed_encoder_decoder_that_generates_is_measured(tmp_path):
    rows = Dataset.from_list([{"input_features": [[0.1 * n] * 20] * 8, "labels": [3, 4, 5]} for n in range(4)])
    config = WhisperConfig(
        vocab_size=64,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=10,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    trainer = CompressionSeq2SeqTrainer(
        model=WhisperForConditionalGeneration(config),
        args=Seq2SeqTrainingArguments(
            **{name: getattr(arguments(tmp_path), name) for name in ("output_dir", "use_cpu", "report_to", "disable_tqdm")},
            max_steps=2,
            save_strategy="no",
            predict_with_generate=True,
            generation_max_length=5,
        ),
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda prediction: {"length": prediction.predictions.shape[1]},
        quantization=Quantization(scheme="W8A8", begin="50%"),
    )
    trainer.train()
    with pytest.raises(CompressionError, match="does not know whether more of 'length' is better; pass greater_is_better"):
        save_result(trainer, tmp_path / "result", metric="length", untrained=False)
    report = save_result(trainer, tmp_path / "result", metric="length", greater_is_better=False)
    assert not report.greater_is_better
    assert report.rows[-1].metrics["length"] >= 5


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # trl sets it
def test_the_arguments_of_trl_are_compared_with_defaults_that_this_machine_would_refuse(tmp_path):
    trl = pytest.importorskip("trl", reason="the trl extra is not installed")
    host = type("Host", (CompressionMixin, trl.SFTTrainer), {})
    trainer = host(
        model=tiny_llama(),
        args=trl.SFTConfig(output_dir=str(tmp_path), max_steps=2, use_cpu=True, report_to="none", save_strategy="no"),
        train_dataset=Dataset.from_list([{"text": "a b c d e f"}] * 8),
        processing_class=tiny_tokenizer(),
        pruning=pruning(every=1),
    )
    trainer.train()
    save_result(trainer, tmp_path / "result", examples=trainer.train_dataset)
    training = json.loads((tmp_path / "result" / "compression.json").read_text())["recipe"]["training"]
    assert training["max_steps"] == 2 and "learning_rate" not in training
