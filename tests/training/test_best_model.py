"""`load_best_model_at_end` and early stopping never hand back a model that is on the way."""

import logging

import pytest
from transformers import EarlyStoppingCallback, Trainer

from hf_compress import CompressionError
from hf_compress.pruning.compute import measure_sparsity
from tests.training.runs import llama_trainer, pruning, quantization, vit_trainer
from tests.training.test_resume import StopAt

BEST = {
    "eval_strategy": "steps",
    "eval_steps": 3,
    "load_best_model_at_end": True,
    "metric_for_best_model": "loss",
    # Upside down on purpose: the loss falls from its first, high value, so the first evaluation wins if it is let.
    "greater_is_better": True,
    "learning_rate": 0.3,
}


def test_best_model_has_the_full_sparsity(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning(end="75%")}, **BEST)
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert max(losses) == losses[0], "the test needs a first evaluation that is the best"
    assert trainer.state.best_global_step >= 9
    assert measure_sparsity(trainer.model, trainer.pruning)[""] == pytest.approx(0.5, abs=1e-3)


def test_best_model_was_evaluated_with_quantization_on(tmp_path):
    trainer = llama_trainer(tmp_path, {"quantization": quantization(begin="75%")}, **BEST)
    trainer.train()
    assert trainer.state.best_global_step >= 9


def test_best_model_of_a_vit_is_really_loaded(tmp_path):
    trainer = vit_trainer(tmp_path, {"pruning": pruning(end="50%")}, **BEST)
    trainer.train()
    best = trainer.state.best_model_checkpoint
    loaded = type(trainer.model).from_pretrained(best).state_dict()
    assert all((loaded[name] == tensor).all() for name, tensor in trainer.model.state_dict().items())


def test_early_stopping_waits_for_the_schedule(tmp_path):
    trainer = llama_trainer(
        tmp_path, {"pruning": pruning(end="75%")}, callbacks=[EarlyStoppingCallback(early_stopping_patience=1)], **BEST
    )
    trainer.train()
    assert trainer.state.global_step >= 9
    assert measure_sparsity(trainer.model, trainer.pruning)[""] == pytest.approx(0.5, abs=1e-3)


def test_without_compression_the_first_evaluation_may_win(tmp_path):
    trainer = llama_trainer(tmp_path, {}, **BEST)
    trainer.train()
    assert trainer.state.best_global_step == 3


def test_a_misspelt_metric_fails_at_the_first_evaluation(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning(end="75%")}, **{**BEST, "metric_for_best_model": "accuracyy"})
    with pytest.raises(KeyError, match="eval_accuracyy"):
        trainer.train()
    assert trainer.state.global_step == 3


def test_no_best_is_noted_on_the_way(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning(end="75%")}, callbacks=[StopAt(6)], **BEST)
    trainer.train()
    assert trainer.state.best_metric is None and trainer.state.best_global_step is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (BEST, "no best model is known before step 9 of 12"),
        ({**BEST, "load_best_model_at_end": False}, "no best model is known before step 9 of 12"),
        ({**BEST, "save_strategy": "best"}, "nothing is saved before"),
    ],
    ids=["load_best_model_at_end", "early stopping", "save_strategy"],
)
def test_the_start_says_from_when_on_a_best_is_known(changes, said, tmp_path, caplog):
    trainer = llama_trainer(tmp_path, {"pruning": pruning(end="75%")}, **changes)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert caplog.text.count(said) == 1


def test_save_strategy_best_writes_complete_models_only(tmp_path):
    jobs = {"pruning": pruning(end="75%"), "quantization": quantization()}
    llama_trainer(tmp_path, jobs, **{**BEST, "save_strategy": "best"}).train()
    written = sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("checkpoint-*"))
    assert written and written[0] >= 9


@pytest.mark.parametrize(
    "changes", [{"eval_delay": 13}, {"eval_strategy": "no", "save_strategy": "best"}], ids=["delay", "no evaluation"]
)
@pytest.mark.parametrize(
    "jobs", [{"pruning": pruning()}, {"quantization": quantization()}], ids=["pruning", "quantization"]
)
def test_a_run_in_which_no_evaluation_counts_is_refused_in_the_constructor(changes, jobs, tmp_path):
    with pytest.raises(CompressionError, match="need an evaluation once pruning and quantization are complete"):
        llama_trainer(tmp_path, jobs, **{**BEST, **changes})


def test_a_delay_that_only_the_number_of_steps_shows_is_refused_before_the_first_step(tmp_path):
    trainer = llama_trainer(
        tmp_path, {"pruning": pruning()}, **{**BEST, "max_steps": -1, "num_train_epochs": 1, "eval_delay": 9}
    )
    with pytest.raises(CompressionError, match=r"eval_delay=9 lies after the last step \(8\)"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_dense_best_model_is_forgotten_and_never_loaded(tmp_path, caplog):
    """A plain Trainer's best, judged dense, resumed under pruning."""
    changes = {**BEST, "greater_is_better": True}
    llama_trainer(tmp_path, {}, cls=Trainer, max_steps=6, **changes).train()
    trainer = llama_trainer(tmp_path, {"pruning": pruning()}, **changes)
    with caplog.at_level(logging.WARNING):
        trainer.train(resume_from_checkpoint=True)
    assert "forgot the best model" in caplog.text
    assert trainer.state.best_global_step >= 9
    assert measure_sparsity(trainer.model, trainer.pruning)[""] == pytest.approx(0.5, abs=1e-3)


def test_a_compressed_best_model_is_remembered_over_a_resume(tmp_path):
    changes = {**BEST, "max_steps": 15}
    job = {"pruning": pruning(end=3)}
    straight = llama_trainer(tmp_path / "straight", job, **changes)
    straight.train()
    llama_trainer(tmp_path / "resumed", job, callbacks=[StopAt(9)], **changes).train()
    resumed = llama_trainer(tmp_path / "resumed", job, **changes)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.best_global_step == straight.state.best_global_step == 3
