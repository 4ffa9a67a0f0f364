"""A model that is shrunk before it is trained, by recipe: what is left, and that a run goes on from the same one."""

import functools
import json
import shutil
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_compress import CompressionError, Recipe
from hf_compress._problems import RecipeError
from hf_compress._units import format_bytes
from hf_compress.distillation.loss import DistillationLoss, FeatureLoss
from hf_compress.jobs.train import run as train_run
from hf_compress.jobs.train import shrunk as shrunk_stage
from hf_compress.training.trainer import CompressionTrainer
from tests.jobs.train.test_run import before_call
from tests.small import DROP, recipe, rows_of_fewer_words, text_rows, write_jsonl, write_wordy_model

SHRINK = {
    "shrink": {"feed_forward": 32, "heads": 2, "layers": 1},
    "calibration": {"num_examples": 8, "batch_size": 4},
    "quantization.scheme.group_size": 16,
    "training.save_steps": 2,
}
STAGES = {
    "while the shrunk model is written": (shrunk_stage, "write_dense", 1),
    "before the compression": (train_run, "_compression_stage", 1),
    "in the compression": (CompressionTrainer, "training_step", 2 + 3),
}


def load(folder, **changes):
    if not (folder / "train.jsonl").exists():
        write_jsonl(folder / "train.jsonl", text_rows())
    return Recipe.from_plain(recipe(folder, {**SHRINK, **changes}))


def run_leaving(job, folder, stages):
    """The result of a run that nothing interrupts; `folder`/left keeps what a kill at each of the stages had left."""
    with pytest.MonkeyPatch.context() as patch:
        for stage, (place, name, calls) in stages.items():
            left = folder / "left" / stage
            before_call(patch, place, name, calls, functools.partial(shutil.copytree, folder / "out", left))
        return job.run()


def take_up(folder, stage, tmp_path):
    """What was left at a stage, as if it had been left in another folder."""
    shutil.copytree(folder / "left" / stage, tmp_path / "out")
    file = tmp_path / "out" / "recipe.yaml"
    file.write_text(file.read_text().replace(str(folder), str(tmp_path)))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder and result of a run that nothing interrupted; beside it what a kill at some stages had left."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, run_leaving(load(folder), folder, STAGES)


def test_the_dense_model_teaches_the_shrunk_one_which_is_pruned_quantized_and_written_as_a_stock_model(straight):
    folder, result = straight
    names = [row.name for row in result.report.rows]
    assert names == ["dense", "shrunk without training", "compressed without training", "ours"]
    sizes = [row.file_bytes for row in result.report.rows]
    assert sizes[0] > sizes[1] > sizes[3]
    config = json.loads((result.folder / "config.json").read_text())
    assert (config["intermediate_size"], config["num_attention_heads"], config["num_hidden_layers"]) == (32, 2, 1)
    model = AutoModelForCausalLM.from_pretrained(folder / "out" / "shrunk")
    dense = AutoModelForCausalLM.from_pretrained(folder / "out" / "dense")
    known = json.loads((folder / "out" / "shrunk" / "shrink.json").read_text())
    (kept,) = known["choice"]["kept"]["stacks"]
    (layer,), (units,) = kept["layers"], kept["units"]
    own, other = model.model.layers[0].mlp, dense.model.layers[layer].mlp
    assert torch.equal(own.up_proj.weight, other.up_proj.weight[units])
    taught = json.loads((folder / "out" / "checkpoint-4" / "compression.json").read_text())["recipe"]["distillation"]
    assert taught["teacher"]["model"] == "./dense"


def test_report_manifest_and_card_say_what_was_removed_and_what_it_saves(straight):
    folder, result = straight
    (sentence, *_) = result.report.reach
    assert sentence.startswith(
        "shrunk from LlamaForCausalLM with 2 layers, 4 heads in 2 groups, 64 feed-forward units to 1 "
    )
    for part in ("1 layers, 2 heads in 1 groups, 32", "parameters: ", "bytes: ", "MACs of input_ids (1, 8): "):
        assert part in sentence
    card = (result.folder / "README.md").read_text()
    assert f"- reach: {sentence}" in card and "- structural pruning `shrink` (feed_forward 32, heads 2, layers 1)" in card
    manifest = json.loads((result.folder / "compression.json").read_text())
    assert manifest["shrink"] == json.loads((folder / "out" / "shrunk" / "shrink.json").read_text())["choice"]
    assert manifest["recipe"]["shrink"]["layers"] == 1


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_run_goes_on_with_the_same_shrunk_model_and_ends_with_the_same_bytes(straight, stage, tmp_path):
    folder, result = straight
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    take_up(folder, stage, tmp_path)
    again = load(tmp_path).run(resume=True)
    assert (again.folder / "model.safetensors").read_bytes() == (result.folder / "model.safetensors").read_bytes()
    assert [row.metrics for row in again.report.rows] == [row.metrics for row in result.report.rows]


def test_a_shrunk_model_that_was_changed_is_not_trained(straight, tmp_path):
    folder, _ = straight
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    take_up(folder, "before the compression", tmp_path)
    weights = tmp_path / "out" / "shrunk" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(CompressionError, match="shrunk does not hold the weights that this run has written there"):
        load(tmp_path).run(resume=True)


def test_shrinking_alone_is_a_run_and_needs_no_calibration_where_weights_say_what_goes(tmp_path):
    alone = dict.fromkeys(("pruning", "quantization", "distillation"), DROP)
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    start = Recipe.from_plain(recipe(tmp_path, {**alone, "shrink": {"feed_forward": 0.5}, "training.max_steps": 1}))
    report = start.run().report
    assert [row.name for row in report.rows] == ["dense", "shrunk without training", "ours"]
    assert "1 compressed" in report.setting["optimizer steps"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"calibration": None}, "shrink.layers: layers is chosen on examples; add the section `calibration: {}`"),
        ({"shrink": {"feed_forward": 64, "layers": 2}}, "shrink: nothing goes: LlamaForCausalLM with 2 layers"),
        ({"shrink": {"heads": 3}}, "shrink: heads=3: .*legal for this llama: 2, 4"),
        (
            {"shrink": {"feed_forward": 40}},
            "quantization: group_size=16 does not divide the 40 inputs of model.layers.0.mlp",
        ),
        ({"shrink": {"units": 3}}, "shrink.units: unknown key"),
        ({"shrink": {}}, "shrink: ShrinkPlan.. keeps everything"),
    ],
)
def test_what_cannot_be_left_of_the_model_is_refused_before_anything_is_written(tmp_path, changes, said):
    with pytest.raises(RecipeError, match=said):
        job = load(tmp_path, **changes)
        problems = job.preflight()
        raise RecipeError(problems)
    assert not (tmp_path / "out").exists()


def test_losses_on_layers_are_refused_where_layers_go_and_taken_where_widths_go(tmp_path, monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Inside(FeatureLoss):
        name: ClassVar[str] = "inside"

    monkeypatch.setitem(DistillationLoss._registry, "inside", Inside)
    losses = {"distillation": {"losses": [{"weight": 0.5, "loss": "inside"}]}}
    (problem,) = load(tmp_path, **losses).preflight()
    assert "inside compares layers by their places, and behind `shrink` with 1 of 2 layers" in str(problem)
    assert load(tmp_path, **losses, shrink={"feed_forward": 32}).preflight() == []


def test_what_the_recipe_keeps_is_shown_before_anything_is_touched(tmp_path):
    lines = load(tmp_path).preview().splitlines()
    assert lines[:2] == [
        "LlamaForCausalLM with 2 layers, 4 heads in 2 groups, 64 feed-forward units",
        "leaves 1 layers, 2 heads in 1 groups, 32 feed-forward units",
    ]
    assert [line.split(":")[0] for line in lines[2:]] == ["parameters", "bytes", "MACs of input_ids (1, 8)"]


VOCABULARY = {
    "model": "model",
    "tokenizer": DROP,
    "shrink": {"vocabulary": {}, "feed_forward": 32},
    "training.save_steps": 2,
}
LEFT = {
    "while the smaller vocabulary is written": (shrunk_stage, "write_dense", 1),
    "while the model behind it is written": (shrunk_stage, "write_dense", 2),
    "in the compression": (CompressionTrainer, "training_step", 2 + 3),
}


def wordy(folder, **changes):
    """A recipe for a model that knows more words than its rows have."""
    if not (folder / "train.jsonl").exists():
        write_jsonl(folder / "train.jsonl", rows_of_fewer_words())
        write_wordy_model(folder / "model")
    changes = {**VOCABULARY, "quantization.scheme.group_size": 16, "model": str(folder / "model"), **changes}
    return Recipe.from_plain(recipe(folder, changes))


@pytest.fixture(scope="module")
def fewer(tmp_path_factory):
    """As `straight`, of a run whose vocabulary is made smaller first."""
    folder = tmp_path_factory.mktemp("fewer")
    return folder, run_leaving(wordy(folder), folder, LEFT)


def test_the_dense_model_with_the_smaller_vocabulary_teaches_and_the_result_knows_no_other_pieces(fewer):
    folder, result = fewer
    dense, own = (
        AutoModelForCausalLM.from_pretrained(folder / "out" / "dense"),
        AutoTokenizer.from_pretrained(folder / "model"),
    )
    known = json.loads((result.folder / "compression.json").read_text())["shrink"]["vocabulary"]
    kept = known["kept"]
    assert known["rows_before"] == len(own) and own.get_vocab()["Ġhome"] not in kept and own.get_vocab()["Ġcat"] in kept
    teacher = AutoModelForCausalLM.from_pretrained(folder / "out" / "dense-smaller-vocabulary")
    ids = torch.tensor([[3, 5, 7]])
    with torch.no_grad():
        expected = dense(input_ids=torch.tensor(kept)[ids]).logits[..., kept]
        torch.testing.assert_close(teacher(input_ids=ids).logits, expected, atol=1e-6, rtol=1e-5)
    taught = json.loads((folder / "out" / "checkpoint-4" / "compression.json").read_text())["recipe"]["distillation"]
    assert taught["teacher"]["model"] == "./dense-smaller-vocabulary"
    for place in (folder / "out" / "shrunk", result.folder):
        tokenizer = AutoTokenizer.from_pretrained(place)
        assert [own.get_vocab()[piece] for piece in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))] == kept
        assert json.loads((place / "config.json").read_text())["vocab_size"] == len(kept)
    rows = result.report.rows
    assert [row.name for row in rows] == ["dense", "shrunk without training", "compressed without training", "ours"]
    assert rows[0].file_bytes - rows[1].file_bytes >= 2 * 2 * 32 * (len(own) - len(kept))
    assert result.report.reach[0].startswith(f"{len(kept)} of {len(own)} rows of the vocabulary stay")
    assert any("dense was measured with its own vocabulary" in note for note in result.report.notes)
    card = (result.folder / "README.md").read_text()
    assert "- structural pruning `shrink` (feed_forward 32, vocabulary {})" in card


@pytest.mark.parametrize("stage", LEFT)
def test_an_interrupted_run_goes_on_with_the_same_vocabulary_and_ends_with_the_same_bytes(fewer, stage, tmp_path):
    folder, result = fewer
    job = wordy(tmp_path)
    take_up(folder, stage, tmp_path)
    again = job.run(resume=True)
    assert (again.folder / "model.safetensors").read_bytes() == (result.folder / "model.safetensors").read_bytes()
    assert [row.metrics for row in again.report.rows] == [row.metrics for row in result.report.rows]


def test_rows_that_use_other_pieces_than_the_run_began_with_are_refused(fewer, tmp_path):
    folder, _ = fewer
    job = wordy(tmp_path)
    take_up(folder, "in the compression", tmp_path)
    write_jsonl(tmp_path / "train.jsonl", [{"text": row["text"].replace("home", "cat")} for row in text_rows()])
    with pytest.raises(CompressionError, match="keeps other rows of the vocabulary than the training rows use now; remove"):
        job.run(resume=True)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": {"config": {"model_type": "llama"}}, "tokenizer": {"vocab_size": 300}},
            "a fresh tokenizer is made of the",
        ),
        ({"data.streaming": True}, "shrink.vocabulary: looks at all training rows, which data.streaming does not know"),
        ({"shrink": {"vocabulary": {"keep": "Ġcat"}}}, "shrink.vocabulary.keep: "),
        ({"shrink": {"vocabulary": {"keep": ["Ġzebra"]}}}, "shrink.vocabulary: keep=.*: the tokenizer has no such piece"),
        (
            {"distillation": {"teacher": {"name": "model", "model": "model"}}},
            "distillation.teacher.model: the teacher's .* job: shrink",
        ),
        ({"shrink": {"vocabulary": {}, "parameters": "99.9%"}, "calibration": {}}, "the smaller vocabulary alone leaves"),
    ],
)
def test_a_vocabulary_that_cannot_be_made_smaller_is_refused_before_anything_is_written(tmp_path, changes, said):
    if "distillation" in changes:
        changes["distillation"]["teacher"]["model"] = str(tmp_path / "model")
    with pytest.raises(RecipeError, match=said):
        raise RecipeError(wordy(tmp_path, **changes).preflight())
    assert not (tmp_path / "out").exists()


def test_the_teacher_of_several_processes_is_the_dense_model_with_the_smaller_vocabulary(tmp_path):
    job = wordy(tmp_path, pruning=DROP, quantization=DROP, **{"quantization.scheme.group_size": DROP})
    removal = job._plan().removal
    whole = 4 * sum(weight.numel() for weight in removal.whole.parameters())
    bytes_of = [line.split("  ")[-1] for line in job.scaling(2).splitlines() if line.startswith("teacher")]
    assert bytes_of == [format_bytes(4 * removal.vocabulary.after.parameters)] and bytes_of != [format_bytes(whole)]


def test_a_smaller_vocabulary_alone_is_a_run(tmp_path):
    alone = dict.fromkeys(("pruning", "quantization", "distillation"), DROP)
    settings = {**VOCABULARY, "model": str(tmp_path / "model"), **alone, "dense": DROP, "shrink": {"vocabulary": {}}}
    wordy(tmp_path)
    report = Recipe.from_plain(recipe(tmp_path, {**settings, "training.max_steps": 1})).run().report
    assert [row.name for row in report.rows] == ["dense", "shrunk without training", "ours"]
    assert not (tmp_path / "out" / "shrunk").exists() and (tmp_path / "out" / "dense-smaller-vocabulary").exists()
