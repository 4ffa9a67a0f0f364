"""What every task promises; a new one is tested without editing a list.

Columns are made from the features that a task says they hold, the model is the first small one that its Auto class takes.
"""

import dataclasses
import math
import shutil

import pytest
import torch
import transformers
from datasets import Value
from huggingface_hub import InferenceClient
from transformers import AutoConfig, Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments
from transformers.pipelines import PIPELINE_REGISTRY, pipeline

from hf_compress import CompressionMixin, Recipe, UsedVocabulary
from hf_compress._problems import RecipeError
from hf_compress._registry import dump
from hf_compress.evaluation.evaluate import evaluate_model
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.inputs.batches import model_inputs
from hf_compress.inputs.fresh import check_keys
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.pruning.shrink.planned_vocabulary import PlannedVocabulary
from hf_compress.pruning.shrink.vocabulary_choice import without_rows
from hf_compress.recipe.build import build
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.chat import Chat
from hf_compress.tasks.builtin.seq2seq import Seq2Seq
from hf_compress.tasks.heads import head_of_class
from hf_compress.tasks.opened import open_inputs
from hf_compress.tasks.task import Task
from hf_compress.tasks.task_loss import task_kind
from tests.jobs.train.test_run import Killed, kill
from tests.rows import NAMES, features_of, rows_of
from tests.small import DROP, LLAMA, VIT_RECIPE, recipe

BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
WAV2VEC2 = {
    "model_type": "wav2vec2",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "conv_dim": [32, 32],
    "conv_kernel": [10, 3],
    "conv_stride": [5, 2],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "apply_spec_augment": False,
    "classifier_proj_size": 32,
    "layerdrop": 0.0,
}
BART = {
    "model_type": "bart",
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
}
WHISPER = {
    "model_type": "whisper",
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "max_source_positions": 50,
    "max_target_positions": 64,
}
SMALL = (LLAMA, VIT_RECIPE["model"]["config"], BERT, WAV2VEC2, BART, WHISPER)
TASKS = [pytest.param(cls, id=name) for name, cls in Task.available().items()]


def small_task(cls):
    """With columns under other names than the defaults, and small numbers."""
    columns = {column.key: f"my_{column.key}" for column in cls().columns()}
    numbers = {field.name: 32 for field in dataclasses.fields(cls) if field.type is int or field.type == "int"}
    return cls(**columns, **numbers)


def small_config(task):
    """Of the first small model that the task's Auto class has."""
    known = task.model_class()._model_mapping
    return next(config for config in SMALL if type(AutoConfig.for_model(config["model_type"])) in known)


def written(task, folder, rows=None):
    file = folder / "data.parquet"
    (rows_of(task) if rows is None else rows).to_parquet(file)
    return Data(path=str(file), validation_share=0.2)


def opened(task, folder, model=None, **options):
    tokenizer = FreshTokenizer(vocab_size=300) if task.takes_tokenizer else None
    if model is not None:
        tokenizer = None
    model = FreshModel(config=small_config(task)) if model is None else str(model)
    return open_inputs(model, written(task, folder), task, tokenizer, **options)


def batch_of(made, split="train"):
    return made.task.collator(made.processor)([made.examples[split][index] for index in range(3)])


@pytest.mark.parametrize("cls", TASKS)
def test_a_task_is_a_frozen_value_that_a_recipe_can_write_and_read(cls):
    assert cls.__dataclass_params__.frozen and cls.__doc__ and cls.__module__.startswith(cls._package)
    for made in (cls(), small_task(cls)):
        for full in (False, True):
            problems = []
            assert build(Task, dump(made, full), "task", problems) == made, problems
    assert dump(cls()) == cls.name
    changed = {field.name for field in dataclasses.fields(cls) if getattr(made, field.name) != getattr(cls(), field.name)}
    assert changed and set(dump(made)) == {"name", *changed}


@pytest.mark.parametrize("cls", TASKS)
def test_what_a_card_says_of_a_task_is_known_to_the_hub_and_to_transformers(cls):
    assert cls.head.pipeline is None or hasattr(InferenceClient, cls.head.pipeline.replace("-", "_"))
    assert hasattr(transformers, cls.head.auto_class) and hasattr(transformers, cls.processor_class)
    assert isinstance(cls().greater_is_better, bool)


@pytest.mark.parametrize("cls", TASKS)
def test_every_missing_and_every_wrong_column_is_refused_at_its_key(cls, tmp_path):
    task = small_task(cls)
    features = features_of(task)
    for column in task.columns():
        rest = rows_of(task).add_column("other", [{"x": 0.5}] * 60).remove_columns(column.name)
        other = rest.rename_column("other", column.name)
        for rows, words in ((rest, "unknown column of the train split"), (other, "holds {'x': Value('float64')}")):
            with pytest.raises(RecipeError) as refusal:
                open_inputs(FreshModel(config=small_config(task)), written(task, tmp_path, rows), task, fit=False)
            (problem,) = refusal.value.problems
            assert problem.path == f"task.{column.key}" and words in problem.message
    nothing = rows_of(task, features=type(features)({"other": Value("string")}))
    with pytest.raises(RecipeError) as refusal:
        open_inputs(FreshModel(config=small_config(task)), written(task, tmp_path, nothing), task, fit=False)
    assert [problem.path for problem in refusal.value.problems] == [f"task.{column.key}" for column in task.columns()]


@pytest.mark.parametrize("cls", TASKS)
def test_a_batch_goes_through_a_fresh_model_and_is_measured(cls, tmp_path):
    made = opened(small_task(cls), tmp_path)
    model = made.load_model(seed=0).eval()
    batch = batch_of(made)
    with torch.no_grad():
        assert math.isfinite(float(model(**batch).loss))
    shifts = (
        cls.head.rows == "shifted_tokens" and model.config.is_encoder_decoder
    )  # the decoder's inputs, and not the labels
    assert task_kind(model, batch.get("labels")).name == ("tokens" if shifts else made.task.logit_rows)
    assert head_of_class(type(model).__name__) == cls.head

    task, examples, rows = made.task, made.examples["test"], made.raw["test"]
    metrics = task.evaluate(model, examples, rows, made.processor, 4, "x")
    assert task.metric in metrics and all(math.isfinite(value) for value in metrics.values())
    again = task.evaluate(model, examples, rows, made.processor, 3, "x")
    assert again == pytest.approx(metrics, rel=1e-4)

    kind, host = (Seq2SeqTrainingArguments, Seq2SeqTrainer) if cls.generates else (TrainingArguments, Trainer)
    trainer = host(
        model=model,
        args=kind(output_dir=str(tmp_path / "out"), use_cpu=True, report_to="none", **task.training_defaults),
        data_collator=task.collator(made.processor),
        compute_metrics=task.compute_metrics(examples, rows, made.processor),
        preprocess_logits_for_metrics=task.preprocess_logits(),
        processing_class=made.processor,
    )
    evaluated = trainer.evaluate(examples)
    assert {f"eval_{name}" for name in task.metrics} <= set(evaluated)
    if task.metric in task.metrics:
        assert evaluated[f"eval_{task.metric}"] == pytest.approx(metrics[task.metric])


@pytest.mark.parametrize("cls", TASKS)
def test_what_follows_from_data_and_processor_is_in_the_config_and_no_recipe_sets_it(cls, tmp_path):
    made = opened(small_task(cls), tmp_path)
    for key in made.task.decided:
        assert getattr(made.config, key) is not None
        with pytest.raises(RecipeError, match=f"model.config.{key}: the data and tokenizer decide this; leave it out"):
            check_keys(FreshModel(config={**small_config(made.task), key: getattr(made.config, key)}), made.task.decided)


@pytest.mark.parametrize("cls", TASKS)
def test_labels_keep_the_datas_order_and_a_trained_models_order_wins(cls, tmp_path):
    made = opened(small_task(cls), tmp_path)
    if not made.labels:
        assert not {"id2label", "label2id"} & set(made.task.decided)
        return
    assert made.labels == list(NAMES) and made.config.id2label == dict(enumerate(NAMES))
    model = made.load_model(seed=0)
    turned = list(reversed(NAMES))
    model.config.id2label, model.config.label2id = dict(enumerate(turned)), {name: i for i, name in enumerate(turned)}
    model.save_pretrained(tmp_path / "model")
    made.processor.save_pretrained(tmp_path / "model")
    again = opened(small_task(cls), tmp_path, tmp_path / "model")
    assert again.labels == turned
    before, after = batch_of(made)["labels"], batch_of(again)["labels"]
    assert torch.equal(after, torch.where(before == -100, before, len(NAMES) - 1 - before)) and (before >= 0).any()


@pytest.mark.parametrize("cls", [task for task in TASKS if task.values[0].token_columns])
def test_rows_of_a_vocabulary_that_are_not_used_go_and_examples_and_answers_stay(cls, tmp_path):
    task = small_task(cls)
    made = opened(task, tmp_path)
    model = made.load_model(0)
    model.resize_token_embeddings(made.config.get_text_config().vocab_size + 5)  # rows that no piece has
    model.save_pretrained(tmp_path / "model")
    made.processor.save_pretrained(tmp_path / "model")
    whole = opened(task, tmp_path, model=tmp_path / "model")
    planned = PlannedVocabulary.of(whole, UsedVocabulary(), written(task, tmp_path), 0)
    kept, small = planned.choice.kept, planned.opened
    assert planned.choice.rows_before - 5 >= len(kept) == small.config.get_text_config().vocab_size
    labels = "labels" in task.token_columns or task.head.classes == "tokens"
    ids = {*task.token_columns, *(["labels"] if labels else [])}
    for name, split in whole.examples.items():
        for column in ids & set(split.column_names):
            before, after = (one.examples[name].with_format(None)[column][:] for one in (whole, small))
            moved = [[index if index < 0 else kept[index] for index in row] for row in after]
            assert moved == before, (name, column)
    model = whole.load_model(0).eval()
    without = without_rows(model, planned.choice)
    batches = [batch_of(one, "test") for one in (whole, small)]
    with torch.no_grad():
        pairs = zip((model, without), batches, strict=True)
        # Of labels an encoder-decoder makes what its decoder reads.
        expected, found = (one(**(batch if task.generates else model_inputs(batch, one))) for one, batch in pairs)
    for key in ("logits", "start_logits"):
        if key in expected:
            columns = expected[key][..., list(kept)] if task.head.classes == "tokens" else expected[key]
            assert columns.numel()
            torch.testing.assert_close(found[key], columns, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cls", [Chat, Seq2Seq, CausalLM])
def test_tokens_of_a_likelihood_are_those_of_whole_texts_however_they_are_cut(cls, tmp_path):
    names = {"source_length": 4, "target_length": 4} if cls is Seq2Seq else {"length": 8}
    whole = small_task(cls)
    made = opened(whole, tmp_path)
    test = made.raw["test"]
    cut = dataclasses.replace(whole, **names)
    count = cut.likelihood_tokens(test, made.processor)
    assert count == whole.likelihood_tokens(test, made.processor) > 0
    if cls is not CausalLM:  # whose blocks drop the last tokens
        labels = dataclasses.replace(whole, **dict.fromkeys(names, 256)).examples({"test": test}, made.processor, [])[
            "test"
        ]
        assert count == sum(label != -100 for row in labels.with_format(None)["labels"] for label in row)


@pytest.fixture(scope="module", params=TASKS)
def finished(request, tmp_path_factory):
    """A run of each task: the task, the recipe, its result."""
    task, folder = small_task(request.param), tmp_path_factory.mktemp(request.param.name)
    changes = {
        "task": dump(task),
        "model": {"config": small_config(task)},
        "data": dump(written(task, folder)),
        "tokenizer": {"vocab_size": 300} if task.takes_tokenizer else DROP,
        "pruning.ignore": ["re:.*lm_head", "classifier", "score", "cls.predictions.decoder"],
        "quantization.ignore": ["re:.*lm_head", "classifier", "score", "cls.predictions.decoder"],
        "evaluation": {"examples": 2, "untrained": False},
        "training.max_steps": 3,
        "training.save_steps": 1,
    }
    if task.logit_rows == "regression":
        changes["distillation"] = {"losses": [{"weight": 0.5, "loss": "mse"}]}
    made = Recipe.from_plain(recipe(folder, changes))
    return task, made, made.run()


def test_a_run_prunes_quantizes_and_distils_and_the_result_works_in_its_pipeline(finished):
    task, _, result = finished
    dense, ours = result.report.rows
    assert result.report.metric == task.metric and all(task.metric in row.metrics for row in (dense, ours))
    assert ours.sparsity == pytest.approx(0.5, abs=1e-3) and ours.file_bytes < dense.file_bytes
    assert task.unit in result.report.setting["data"]
    card = (result.folder / "README.md").read_text(encoding="utf-8")
    tags = [line.removeprefix("pipeline_tag: ") for line in card.splitlines() if line.startswith("pipeline_tag:")]
    assert tags == ([] if task.head.pipeline is None else [task.head.pipeline])
    assert f"{task.head.auto_class}.from_pretrained(" in card
    if task.head.pipeline in PIPELINE_REGISTRY.get_supported_tasks():
        assert pipeline(task.head.pipeline, model=str(result.folder)).model.config.architectures
    else:
        assert task.model_class().from_pretrained(result.folder).config.architectures
        assert getattr(transformers, task.processor_class).from_pretrained(result.folder)


def test_its_folder_is_measured_again_as_its_report_says(finished):
    task, made, result = finished
    *_, ours = result.report.rows
    same = str(result.folder)
    report = evaluate_model(ModelEvaluation(model=same, against=same, task=task, data=made.data, seed=made.seed))
    assert report.rows[0] == report.rows[1] and report.rows[0].file_bytes == ours.file_bytes
    assert report.rows[0].metrics == pytest.approx(ours.metrics, rel=1e-6)  # sums of tokens in another order
    assert ours.intervals[task.metric] == pytest.approx(report.rows[0].intervals[task.metric], rel=1e-5)
    assert result.report.notes == ()
    expected = {"agreement": 1.0, "kl_divergence": pytest.approx(0.0, abs=1e-6)}
    assert report.closeness == ({} if task.logit_rows == "regression" else expected)
    for key in report.directions.keys() - {"loss"}:  # a mean of batches' means
        known = report.uncertainty[key]
        assert known.rows > 1 and known.difference == 0 and known.difference_interval == (0, 0)
        assert known.intervals[0] == known.intervals[1] and known.intervals[0][0] <= known.intervals[0][1]
        assert known.sign_test is None or (known.sign_test.p_value, known.sign_test.equal) == (1.0, known.rows)
    assert EvaluationReport.from_plain(report.to_plain()) == report
    assert (report.metric, report.greater_is_better) == (task.metric, task.greater_is_better)
    assert task.metric in report.directions and str(result.folder) not in str(report.to_plain())


def test_a_run_that_was_interrupted_ends_with_the_same_bits(finished, monkeypatch):
    """As if it had been killed behind its first checkpoint; the last test to read the run's folder.

    What follows on the last checkpoint is the same for every task, and tested in tests/jobs/train.
    """
    _, made, result = finished
    last = result.folder.parent / "checkpoint-3"
    files = ("model.safetensors", "optimizer.pt", "rng_state.pth")
    before = {name: (last / name).read_bytes() for name in files}
    for part in (result.folder, *result.folder.parent.glob("checkpoint-[23]")):
        shutil.rmtree(part)
    kill(monkeypatch, CompressionMixin, "finalize")
    with pytest.raises(Killed):
        made.run(resume=True)
    for name in files:
        assert (last / name).read_bytes() == before[name], name
