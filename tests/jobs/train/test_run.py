"""What a run leaves; one that is interrupted anywhere goes on and ends with the same bytes."""

import functools
import json
import logging
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError, Recipe
from hf_compress._yaml import write_yaml
from hf_compress.export import documents as beside_weights
from hf_compress.jobs.train import documents, untrained
from hf_compress.jobs.train import run as train_run
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.tasks.masking import MaskRows
from hf_compress.training.trainer import CompressionTrainer
from tests.command_line import tree
from tests.small import DROP, LLAMA, recipe, text_rows, write_jsonl

LEFT = ["checkpoint-2", "checkpoint-4", "compressed", "dense", "recipe.yaml", "tokenizer"]


def test_a_collator_that_is_a_callback_hears_of_the_epochs(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(MaskRows, "on_epoch_begin", lambda self, args, state, control, **_: heard.append(state.epoch))
    write_jsonl(tmp_path / "train.jsonl", text_rows(12))
    bert = {**LLAMA, "model_type": "bert", "num_hidden_layers": 1}
    del bert["num_key_value_heads"]
    changes = {"task": {"name": "masked_lm", "length": 32}, "model.config": bert, "training.max_steps": 6}
    changes |= {"data.max_train": 3, "pruning": DROP, "quantization.ignore": ["cls"], "evaluation": {"untrained": False}}
    Recipe.from_plain(recipe(tmp_path, changes)).run()
    assert {0, 1, 2} <= set(heard)


class Killed(BaseException):
    """What no `except Exception` catches."""


def load(folder):
    return Recipe.from_plain(recipe(folder, {"training.save_steps": 2}))


def kill(monkeypatch, place, name, calls=1):
    """The `calls`-th call of a function ends the process, as far as this process can tell."""

    def die():
        raise Killed

    before_call(monkeypatch, place, name, calls, die)


def before_call(monkeypatch, place, name, calls, act):
    original, left = getattr(place, name), [calls]

    def watched(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            act()
        return original(*args, **kwargs)

    monkeypatch.setattr(place, name, watched)


STAGES = {
    "before the tokenizer is saved": (train_run, "_save_tokenizer", 1),
    "in the dense training": (CompressionTrainer, "training_step", 2),
    "after the dense training": (train_run, "write_dense", 1),
    "before the compression": (train_run, "_compression_stage", 1),
    "in the compression": (CompressionTrainer, "training_step", 2 + 3),
    "after the compression": (CompressionTrainer, "finalize", 1),
    "while rows are measured": (untrained, "compress_untrained", 1),
    "while the result is written": (documents, "write", 1),
    "after the report": (beside_weights, "render_card", 1),
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder, weights and rows of a run that nothing interrupted; beside it what a kill at every stage had left."""
    folder = tmp_path_factory.mktemp("straight")
    write_jsonl(folder / "train.jsonl", text_rows())
    with pytest.MonkeyPatch.context() as patch:
        for stage, (place, name, calls) in STAGES.items():
            left = folder / "left" / stage
            before_call(patch, place, name, calls, functools.partial(shutil.copytree, folder / "out", left))
        result = load(folder).run()
    assert sorted(path.name for path in (folder / "out").iterdir()) == LEFT
    return folder, (result.folder / "model.safetensors").read_bytes(), [row.metrics for row in result.report.rows]


def test_what_is_wrong_in_every_stage_is_said_once(tmp_path, caplog):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    slips = {f"{technique}.ignore": ["re:.*down_prj", "re:.*lm_head"] for technique in ("pruning", "quantization")}
    job = Recipe.from_plain(recipe(tmp_path, slips))
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            assert len(job.run().report.rows) == 3  # written and loaded back four times
        for setting in ("pruning", "quantization"):
            assert caplog.text.count(f"{setting}.ignore: 're:.*down_prj' matches no module") == 1
        assert caplog.text.count("quantized 14 of 15 Linear") == 1
        assert caplog.text.count("pruning covers 14 of 15 Linear") == 1
        shutil.rmtree(tmp_path / "out")


def test_no_published_file_says_where_anything_lies(straight):
    folder, *_ = straight
    published = [path for path in (folder / "out" / "compressed").rglob("*") if path.is_file()]
    assert len(published) > 8
    assert not [path.name for path in published if str(folder).encode() in path.read_bytes()]
    assert "- data: ./train.jsonl (" in (folder / "out" / "compressed" / "README.md").read_text(encoding="utf-8")
    for name in ("compression.json", "config.json", "generation_config.json"):
        assert str(folder) not in (folder / "out" / "checkpoint-4" / name).read_text(encoding="utf-8")


def test_the_loss_of_the_dense_stage_does_not_grow_with_the_accumulation_steps(tmp_path, monkeypatch):
    """The classifier of a Llama returns the mean of a micro-batch, however many there are."""

    def logged(size, count):
        folder = tmp_path / f"{size}x{count}"
        folder.mkdir()
        write_jsonl(folder / "train.jsonl", text_rows())
        split = {"per_device_train_batch_size": size, "gradient_accumulation_steps": count}
        dense = {"training": {"max_steps": 1, "logging_steps": 1, "save_steps": 1, **split}}
        with monkeypatch.context() as patch:
            kill(patch, train_run, "write_dense")
            with pytest.raises(Killed):
                Recipe.from_plain(
                    recipe(folder, {"task": {"name": "sequence_classification", "length": 16}, "dense": dense})
                ).run()
        state = json.loads((folder / "out" / "dense-training" / "checkpoint-1" / "trainer_state.json").read_text())
        return [state["log_history"][0][key] for key in ("loss", "grad_norm")]

    assert logged(1, 4) == pytest.approx(logged(4, 1), rel=1e-4)


MIXTURE = {"model_type": "mixtral", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
MIXTURE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4, "max_position_embeddings": 64}
MAMBA = {"model_type": "mamba", "hidden_size": 32, "state_size": 8, "num_hidden_layers": 1}
ARCHITECTURES = {
    "mixtral": (MIXTURE, "left: MixtralExperts"),
    "mamba": (MAMBA, "left out: backbone.layers.0.mixer.dt_proj (the architecture reads its weight by itself"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_of_which_a_part_stays_dense_ends_with_a_checkpoint_that_loads_and_says_so(name, call, tmp_path):
    config, left = ARCHITECTURES[name]
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    changes = {"model": {"config": config}, "distillation": DROP, "pruning": DROP, "evaluation.untrained": False}
    changes |= {"quantization": {"scheme": {"name": "W4A16", "group_size": 16}}, "training.max_steps": 2}
    file = tmp_path / "recipe.yaml"
    file.write_text(write_yaml(recipe(tmp_path, changes)))
    assert call("check", file)[::2] == (0, [])
    assert call("run", file)[::2] == (0, [])
    result = tmp_path / "out" / "compressed"
    for file in ("README.md", "report.md"):
        text = (result / file).read_text()
        assert left in text and "Plain transformers unpacks the weights at the first forward pass" in text
    model, info = AutoModelForCausalLM.from_pretrained(result, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model(input_ids=torch.arange(3, 11)[None]).logits.isfinite().all()


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_after_an_interruption(stage, straight, tmp_path):
    """From what lay on the disk at that moment, parts of files included."""
    folder, weights, metrics = straight
    shutil.copy(folder / "train.jsonl", tmp_path)
    out = tmp_path / "out"
    shutil.copytree(folder / "left" / stage, out)
    (out / "recipe.yaml").write_text((out / "recipe.yaml").read_text().replace(str(folder), str(tmp_path)))
    assert not (out / "compressed").exists()
    for name in (".compressed.part", ".dense.part", ".tokenizer.part", ".rows"):  # as a kill at another moment leaves
        (out / name).mkdir(exist_ok=True)
        (out / name / "half").write_text("written")
    with pytest.raises(CompressionError, match="was interrupted; add --resume"):
        RunFolder(load(tmp_path)).check(resume=False)
    result = load(tmp_path).run(resume=True)
    assert (result.folder / "model.safetensors").read_bytes() == weights
    assert [row.metrics for row in result.report.rows] == metrics
    assert not (result.folder / "half").exists()


def test_a_kill_while_the_dense_checkpoints_are_removed_leaves_none_of_them(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    with monkeypatch.context() as patch:
        kill(patch, train_run, "_compression_stage")
        with pytest.raises(Killed):
            load(tmp_path).run()
    out = tmp_path / "out"
    (out / "dense-training" / "checkpoint-2").mkdir(parents=True)
    load(tmp_path).run(resume=True)
    assert sorted(path.name for path in out.iterdir()) == LEFT


def test_a_finished_run_is_not_repeated_and_loses_what_was_only_measured(straight, monkeypatch):
    folder, weights, metrics = straight
    (folder / "out" / ".rows" / "dense").mkdir(parents=True)
    monkeypatch.setattr(train_run.Plan, "make", None)
    with pytest.raises(CompressionError, match="is finished; add --resume"):
        load(folder).run()
    result = load(folder).run(resume=True)
    assert [row.metrics for row in result.report.rows] == metrics
    assert (result.folder / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (folder / "out").iterdir()) == LEFT


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"])
def test_a_finished_run_whose_report_was_damaged_is_refused_with_the_way_out(content, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    out = tmp_path / "out"
    (out / "compressed").mkdir(parents=True)
    (out / "recipe.yaml").write_text(load(tmp_path).to_yaml())
    if content is not None:
        (out / "compressed" / "report.json").write_text(content)
    with pytest.raises(CompressionError, match=r"report\.json .* remove .*compressed to export and measure again"):
        load(tmp_path).run(resume=True)


def test_a_kill_while_the_folder_is_opened_leaves_it_usable(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe.part").write_text("job: tr")
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    RunFolder(load(tmp_path)).check(resume=False)
    RunFolder(load(tmp_path)).open()
    assert tree(tmp_path / "out") == ["recipe.yaml"]


def test_the_home_directory_is_where_the_trainer_thinks_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    loaded = Recipe.from_plain(recipe(tmp_path, {"training.output_dir": "~/out"}))
    folder = RunFolder(loaded)
    assert str(folder.path) == loaded.training_arguments().output_dir == str(tmp_path / "out")
    assert str(folder.dense_training) == loaded.training_arguments(dense=True).output_dir


def test_a_checkpoint_without_optimizer_state_is_not_gone_on_from(straight, tmp_path, monkeypatch):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    only_model = Recipe.from_plain(recipe(tmp_path, {"training.save_steps": 2, "training.save_only_model": True}))
    with monkeypatch.context() as patch:
        kill(patch, CompressionTrainer, "training_step", 2 + 4)
        with pytest.raises(Killed):
            only_model.run()
    assert (tmp_path / "out" / "checkpoint-2").is_dir()
    assert (only_model.run(resume=True).folder / "model.safetensors").read_bytes() == straight[1]
