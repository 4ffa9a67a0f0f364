"""Resuming where training had ended already trains nothing more."""

import json

import pytest
from torch.utils.data import IterableDataset

from hf_compress import CompressionError, CompressionTrainer
from hf_compress.training.restore import restore_finished
from tests.tiny import tiny_llama
from tests.training.runs import (
    arguments,
    assert_equal_bits,
    distillation,
    everything,
    llama_trainer,
    pruning,
    text_rows,
    vit_trainer,
    weights,
)
from tests.training.test_resume import StopAt


@pytest.mark.parametrize(
    ("schedule", "accumulation"), [("constant", 1), pytest.param("inverse_sqrt", 3, marks=pytest.mark.slow)]
)
def test_resuming_at_the_last_step_changes_no_weight(schedule, accumulation, tmp_path):
    """12 steps are no whole number of passes over 32 rows, so the Trainer's loop has batches left."""
    changes = {"lr_scheduler_type": schedule, "gradient_accumulation_steps": accumulation, "max_steps": 5, "save_steps": 5}
    first = llama_trainer(tmp_path, **changes)
    first.train()
    again = llama_trainer(tmp_path, **changes)
    output = again.train(resume_from_checkpoint=True)
    assert again.state.global_step == first.state.global_step == output.global_step == 5
    assert_equal_bits(weights(first.model), weights(again.model))
    assert again.compression_is_complete()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5"]


def test_resuming_at_the_last_step_under_epochs_and_evaluations_too(tmp_path):
    changes = {"save_strategy": "epoch", "eval_strategy": "epoch"}
    first = llama_trainer(tmp_path, {"pruning": pruning()}, lr_scheduler_type="constant", max_steps=12, **changes)
    first.train()
    again = llama_trainer(tmp_path, {"pruning": pruning()}, lr_scheduler_type="constant", max_steps=12, **changes)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 12
    assert_equal_bits(weights(first.model), weights(again.model))


@pytest.mark.parametrize("trainer_for", [pytest.param(llama_trainer, marks=pytest.mark.slow), vit_trainer])
def test_a_finished_run_is_brought_back_without_training(trainer_for, tmp_path):
    first = trainer_for(tmp_path, everything())
    first.train()
    again = trainer_for(tmp_path, everything())
    restore_finished(again, tmp_path / "checkpoint-12")
    assert_equal_bits(weights(first.model), weights(again.model))
    assert again.train_s() == json.loads((tmp_path / "checkpoint-12" / "compression.json").read_text())["train_s"]
    assert_equal_bits(weights(first.finalize()), weights(again.finalize()))


@pytest.mark.slow
def test_a_finished_run_comes_back_with_its_best_weights_wherever_its_folder_is(tmp_path):
    jobs = {"distillation": distillation()}
    changes = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3}
    changes |= {"metric_for_best_model": "loss", "greater_is_better": True}  # so that the last is not the best
    first = llama_trainer(tmp_path / "here", jobs, **changes)
    first.train()
    assert first.state.best_global_step < 12
    (tmp_path / "here").rename(tmp_path / "there")
    again = llama_trainer(tmp_path / "there", jobs, **changes)
    restore_finished(again, tmp_path / "there" / "checkpoint-12")
    assert_equal_bits(weights(first.model), weights(again.model))


def test_parts_of_a_training_are_added_up(tmp_path):
    first = llama_trainer(tmp_path, {}, callbacks=[StopAt(6)])
    assert first.train_s() == 0.0
    first.train()
    part = json.loads((tmp_path / "checkpoint-6" / "compression.json").read_text())["train_s"]
    assert 0 < part <= first.train_s()
    second = llama_trainer(tmp_path, {})
    output = second.train(resume_from_checkpoint=True)
    # The clock stops a little behind the Trainer's, which rounds.
    assert (
        -1e-3 < second.train_s() - part - output.metrics["train_runtime"] < 60
    )  # far from a run counted twice on any machine


def test_a_checkpoint_that_does_not_say_leaves_the_time_unknown(tmp_path):
    llama_trainer(tmp_path, {}, max_steps=3).train()
    file = tmp_path / "checkpoint-3" / "compression.json"
    data = json.loads(file.read_text())
    del data["train_s"]
    file.write_text(json.dumps(data))
    resumed = llama_trainer(tmp_path, {}, max_steps=6)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.train_s() is None


def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path, caplog):
    llama_trainer(tmp_path, {}, max_steps=6).train()
    (tmp_path / "checkpoint-6" / "trainer_state.json").write_text("{")
    resumed = llama_trainer(tmp_path, {}, max_steps=6)
    resumed.train(resume_from_checkpoint=True)
    assert "checkpoint-6 was not written to its end and is left out" in caplog.text
    assert resumed.state.global_step == 6
    (tmp_path / "checkpoint-3" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-6" / "trainer_state.json").unlink()
    with pytest.raises(CompressionError, match="no checkpoint was written to its end; remove them and start again"):
        llama_trainer(tmp_path, {}).train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match="No valid checkpoint found"):
        llama_trainer(tmp_path / "empty", {}).train(resume_from_checkpoint=True)


class Stream(IterableDataset):
    """16 rows without a length: four steps a pass."""

    def __iter__(self):
        return iter(text_rows(count=16))


@pytest.mark.parametrize(("stop", "exact"), [pytest.param(3, True, marks=pytest.mark.slow), (6, False)])
def test_a_stream_is_resumed_exactly_in_its_first_pass_and_behind_it_the_run_says_so(stop, exact, tmp_path, caplog):
    def trainer(folder, callbacks=()):
        model = tiny_llama(seed=0)
        return CompressionTrainer(
            model=model,
            args=arguments(tmp_path / folder),
            train_dataset=Stream(),
            callbacks=list(callbacks),
            pruning=pruning(),
        )

    straight = trainer("straight")
    straight.train()
    trainer("resumed", [StopAt(stop)]).train()
    caplog.clear()
    resumed = trainer("resumed")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    said = f"resuming at step {stop}: the data is a stream that ends before this step"
    assert (said in caplog.text) is not exact
    if exact:
        assert_equal_bits(weights(straight.model), weights(resumed.model))
