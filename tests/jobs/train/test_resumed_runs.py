"""What happens to a run from outside: full disks, rivals, links, SIGTERM, changed keys; each ends with the same weights."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

import hf_compress
from hf_compress import CompressionError, Recipe
from hf_compress._disk import DiskError
from hf_compress._errors import Terminated
from hf_compress._folders import held
from hf_compress._yaml import write_yaml
from hf_compress.jobs.train import results
from hf_compress.jobs.train import run as train_run
from hf_compress.jobs.train.export_run import export_run
from hf_compress.jobs.train.run_folder import RunFolder
from hf_compress.recipe.yaml_text import parse_yaml
from hf_compress.training.trainer import CompressionTrainer
from tests.command_line import tree
from tests.jobs.train.test_run import Killed, kill
from tests.small import recipe, text_rows, write_jsonl

CONSTANT = {"training.save_steps": 2, "training.lr_scheduler_type": "constant", "evaluation.untrained": False}
"""At a constant rate a step too many would change the weights."""


def load(folder, changes=None):
    if not (folder / "train.jsonl").exists():
        write_jsonl(folder / "train.jsonl", text_rows())
    return Recipe.from_plain(recipe(folder, {**CONSTANT, **(changes or {})}))


def weights(folder):
    return (folder / "out" / "compressed" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    load(folder).run()
    return folder


@pytest.fixture
def trained(straight, tmp_path):
    """A copy of it that lacks the result, as after a failed export."""
    shutil.copytree(straight, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "out" / "compressed")
    file = tmp_path / "out" / "recipe.yaml"
    file.write_text(file.read_text().replace(str(straight), str(tmp_path)))
    return tmp_path


def no_training(monkeypatch):
    def step(*args, **kwargs):
        raise AssertionError("a step was trained")

    monkeypatch.setattr(CompressionTrainer, "training_step", step)


def test_resuming_after_the_last_checkpoint_trains_no_step_and_knows_how_long_it_took(straight, trained, monkeypatch):
    no_training(monkeypatch)
    report = load(trained).run(resume=True).report
    assert weights(trained) == weights(straight)
    known = results.read_report(straight / "out" / "compressed")
    # The last checkpoint is written a moment before the training ends.
    assert report.rows[0].train_s == known.rows[0].train_s > 0
    assert 0 < report.rows[-1].train_s <= known.rows[-1].train_s
    assert sorted(path.name for path in (trained / "out").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.slow
def test_a_dense_stage_that_had_ended_is_not_trained_on(straight, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill(patch, train_run, "write_dense")
        with pytest.raises(Killed):
            load(tmp_path).run()
    load(tmp_path).run(resume=True)
    assert weights(tmp_path) == weights(straight)


# Changed keys

HARMLESS = {
    "title": "another name",
    "export.dtype": "float32",
    "evaluation.batch_size": 3,
    "training.logging_steps": 1,
    "training.report_to": "none",
    "training.disable_tqdm": True,
    "training.save_total_limit": 1,
    "dense.training.logging_steps": 2,
}


def test_keys_that_do_not_touch_the_training_may_change(trained, monkeypatch):
    no_training(monkeypatch)
    changed = load(trained, HARMLESS)
    report = changed.run(resume=True).report
    assert report.title == "another name" and report.setting["stored as"] == "float32"
    assert parse_yaml((trained / "out" / "recipe.yaml").read_text(), "recipe.yaml") == changed.to_plain()


@pytest.mark.slow
def test_a_changed_frequency_of_logs_holds_from_then_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        kill(patch, CompressionTrainer, "training_step", 2 + 4)
        with pytest.raises(Killed):
            load(tmp_path).run()
    logged = []

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logged.append(state.global_step)

    original = train_run._trainer

    def watched(*args, **kwargs):
        trainer = original(*args, **kwargs)
        trainer.add_callback(Watch())
        return trainer

    monkeypatch.setattr(train_run, "_trainer", watched)
    load(tmp_path, {"training.logging_steps": 1}).run(resume=True)
    assert logged[:2] == [3, 4]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("training.learning_rate", 1e-3, "training.learning_rate is set here and not there"),
        ("training.max_steps", 5, "training.max_steps is 4 there and 5 here"),
        ("task.length", 8, "task.length is 16 there and 8 here"),
        ("dense.training.seed", 3, "dense.training.seed is set here and not there"),
    ],
)
def test_other_keys_are_refused_by_name(key, value, named, straight):
    job = recipe(straight, {**CONSTANT, key: value})
    with pytest.raises(CompressionError, match=f"holds a different run \\({named}\\)"):
        RunFolder(Recipe.from_plain(job)).check(resume=True)


def test_how_often_a_run_saves_counts_only_where_the_best_is_chosen_from_it(tmp_path):
    best = {"training.load_best_model_at_end": True, "training.eval_strategy": "steps", "training.eval_steps": 2}
    for changes, accepted in ({}, True), (best, False):
        folder = tmp_path / str(accepted)
        folder.mkdir()
        RunFolder(load(folder, changes)).open()
        again = RunFolder(load(folder, {**changes, "training.save_steps": 4}))
        if accepted:
            again.check(resume=True)
            continue
        with pytest.raises(CompressionError, match="training.save_steps is 2 there and 4 here"):
            again.check(resume=True)


def test_a_result_that_is_there_is_not_made_in_another_way(straight):
    with pytest.raises(CompressionError, match=r"made already, otherwise \(export is set here and not there\)"):
        load(straight, {"export.dtype": "float32"}).run(resume=True)


# hf-compress export


def test_export_makes_the_result_of_a_finished_training_in_another_type(straight, trained, call, monkeypatch):
    no_training(monkeypatch)
    code, out, complaints = call("export", trained / "out", "--set", "export.dtype=float32")
    assert (code, complaints) == (0, []) and "| ours" in out
    report = results.read_report(trained / "out" / "compressed")
    assert report.setting["stored as"] == "float32"
    assert report.setting["optimizer steps"] == "2 dense, then 4 compressed"
    code, _, complaints = call("export", trained / "out")
    assert code == 2 and "compressed is made already; rename or remove it to make it anew" in complaints[0]
    shutil.rmtree(trained / "out" / "compressed")
    assert call("export", trained / "out", "--set", "export.dtype=bfloat16")[0] == 0
    assert weights(trained) == weights(straight)


@pytest.mark.slow
def test_export_works_where_the_folder_was_moved_to(straight, trained):
    moved = trained / "elsewhere"
    (trained / "out").rename(moved)
    result = export_run(moved)
    assert result.folder == moved / "compressed" and not (trained / "out").exists()
    assert (moved / "compressed" / "model.safetensors").read_bytes() == weights(straight)


def test_export_says_how_long_was_trained_whatever_number_of_processes_trains_now(trained, monkeypatch):
    """With epochs the steps of a plan depend on the processes; what was trained is what the checkpoints say."""
    monkeypatch.setattr("hf_compress.jobs.train.plan.planned_steps", lambda args, num_examples: 9)
    assert export_run(trained / "out").report.setting["optimizer steps"] == "2 dense, then 4 compressed"


def test_export_of_what_is_no_finished_training_is_refused(trained, tmp_path_factory):
    with pytest.raises(CompressionError, match=r"nowhere holds no recipe\.yaml; name the training\.output_dir of a run"):
        export_run(trained / "nowhere")
    with pytest.raises(CompressionError, match=r"holds a different run \(training.max_steps is 4 there and 9 here\)"):
        export_run(trained / "out", ["training.max_steps=9"])
    shutil.rmtree(trained / "out" / "checkpoint-4")
    with pytest.raises(CompressionError, match=r"is at checkpoint-2 and not at its end; .* with --resume goes on"):
        export_run(trained / "out")
    shutil.rmtree(trained / "out" / "checkpoint-2")
    with pytest.raises(CompressionError, match="the training has no checkpoint"):
        export_run(trained / "out")
    other = tmp_path_factory.mktemp("other")
    (other / "recipe.yaml").write_text(
        write_yaml(
            {
                "job": "merge",
                "method": "linear",
                "members": [{"model": "a"}, {"model": "b"}],
                "output_dir": str(other / "x"),
            }
        )
    )
    with pytest.raises(CompressionError, match="job merge; only a train run can be exported"):
        export_run(other)


# Links and rivals


@pytest.mark.parametrize(
    "name", [".rows", "dense-training", ".compressed.part", ".dense.part", "recipe.part", "checkpoint-9"]
)
def test_a_link_where_a_run_writes_or_removes_is_refused_and_what_it_points_to_stays(name, trained):
    mine = trained / "mine"
    mine.mkdir()
    (mine / "thesis").write_text("mine")
    (trained / "out" / name).symlink_to(mine)
    before = tree(trained)
    with pytest.raises(CompressionError, match=f"{name} is a symbolic link to .*mine.*; remove the link"):
        load(trained).run(resume=True)
    assert tree(trained) == before


@pytest.mark.parametrize("name", ["out", "out/compressed", "out/dense", "out/tokenizer"])
def test_a_dangling_link_is_refused_before_anything_is_read(name, trained):
    place = trained / name
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to(trained / "nowhere")
    with pytest.raises(CompressionError, match=f"{place.name} is a symbolic link to .*nowhere"):
        load(trained).run(resume=True)


def test_a_run_folder_and_a_dense_model_may_lie_on_another_disk(straight, trained):
    (trained / "out" / "dense").rename(trained / "dense-elsewhere")
    (trained / "out" / "dense").symlink_to(trained / "dense-elsewhere")
    (trained / "out").rename(trained / "disk")
    (trained / "out").symlink_to(trained / "disk")
    load(trained).run(resume=True)
    assert weights(trained) == weights(straight)


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_says_that_another_is_writing(resume, trained):
    folder = trained / "out"
    before = tree(trained)
    with held(folder, folder), pytest.raises(CompressionError, match="out: another run is writing it; wait until it ends"):
        load(trained).run(resume=resume)
    with held(folder, folder), pytest.raises(CompressionError, match="out: another run is writing it"):
        export_run(folder)
    assert tree(trained) == before


def test_a_run_holds_its_folder_from_the_first_moment(tmp_path, monkeypatch):
    """Before the plan is made, that is before anything is read or written."""
    seen = []

    def second(*args, **kwargs):
        with pytest.raises(CompressionError, match="another run is writing it") as caught:
            load(tmp_path).run(resume=bool(seen))
        seen.append(caught.value)
        raise Killed

    monkeypatch.setattr(train_run.Plan, "make", second)
    with pytest.raises(Killed):
        load(tmp_path).run()
    assert seen and tree(tmp_path) == ["train.jsonl"]


@pytest.mark.slow
def test_a_second_run_while_the_first_trains_is_refused_and_the_first_ends_as_it_would(straight, tmp_path, monkeypatch):
    """Two processes, the second from the command line."""
    original, done = CompressionTrainer.training_step, []
    file = tmp_path / "recipe.yaml"
    file.write_text(load(tmp_path).to_yaml())
    command = [sys.executable, "-m", "hf_compress", "run", str(file), "--resume"]
    environment = {**os.environ, "PYTHONPATH": str(Path(hf_compress.__file__).parents[1])}

    def step(self, *args, **kwargs):
        if self.quantization is not None and self.state.global_step == 3 and not done:
            done.append(subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(CompressionTrainer, "training_step", step)
    load(tmp_path).run()
    assert weights(tmp_path) == weights(straight)
    (second,) = done
    assert second.returncode == 2 and "another run is writing it; wait until it ends" in second.stderr


# Disks


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (OSError(errno.EROFS, "Read-only file system", "x"), 1),
        pytest.param(RuntimeError("[enforce fail] . unexpected pos 1278656 vs 1278544"), 6, marks=pytest.mark.slow),
    ],
    ids=["read-only", "torch"],
)
def test_a_disk_that_fails_while_training_is_one_sentence_and_resumes(error, calls, straight, tmp_path, monkeypatch):
    original, left = torch.save, [calls]

    def failing(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise error
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", failing)
        with pytest.raises(DiskError, match="run the same command with --resume, it goes on from the last checkpoint$"):
            load(tmp_path).run()
    load(tmp_path).run(resume=True)
    assert weights(tmp_path) == weights(straight)


def test_a_disk_that_is_full_while_exporting_is_one_sentence_and_export_makes_the_result(straight, trained, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(results, "write_documents", full)
        with pytest.raises(DiskError, match="compressed: the disk is full; free some space and run the same command with"):
            load(trained).run(resume=True)
    assert not (trained / "out" / "compressed").exists()
    export_run(trained / "out")
    assert weights(trained) == weights(straight)


# SIGTERM


def terminated(monkeypatch, step, dense=False):
    """The process is told to end while a step of the compression (or dense) stage is computed."""
    original = CompressionTrainer.training_step
    told = []

    def training_step(self, *args, **kwargs):
        if self.state.global_step == step and (self.quantization is None) is dense and not told:
            told.append(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(CompressionTrainer, "training_step", training_step)


@pytest.mark.parametrize(("step", "dense"), [pytest.param(0, True, marks=pytest.mark.slow), (2, False)])
def test_a_run_that_is_told_to_end_writes_a_checkpoint_and_goes_on_from_it(step, dense, straight, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        terminated(patch, step, dense)
        with pytest.raises(Terminated):
            load(tmp_path).run()
    folder = tmp_path / "out" / ("dense-training" if dense else ".")
    assert (folder / f"checkpoint-{step + 1}" / "trainer_state.json").is_file()
    assert not (tmp_path / "out" / "compressed").exists()
    load(tmp_path).run(resume=True)
    assert weights(tmp_path) == weights(straight)


def test_the_command_line_says_so_with_the_exit_code_of_the_signal(tmp_path, call, monkeypatch):
    file = tmp_path / "recipe.yaml"
    file.write_text(load(tmp_path).to_yaml())
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        terminated(patch, 1)
        code, _, complaints = call("run", file)
    assert (code, complaints) == (143, ["told to end; the same command with --resume goes on"])
    with monkeypatch.context() as patch:
        patch.setattr(train_run.Plan, "make", lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGTERM))
        assert call("run", file, "--resume")[0] == 143, "also while nothing is trained"
    with monkeypatch.context() as patch:
        kill(patch, train_run.Plan, "make")
        patch.setattr("tests.jobs.train.test_run.Killed", KeyboardInterrupt)
        assert call("run", file, "--resume")[::2] == (130, ["interrupted; the same command with --resume goes on"])
    assert signal.getsignal(signal.SIGTERM) is before
