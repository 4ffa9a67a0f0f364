"""`load_best_model_at_end` and early stopping never hand back a model that is on the way."""

import pytest
from transformers import EarlyStoppingCallback

from hf_compress.pruning.prune import measure_sparsity
from tests.training.runs import llama_trainer, pruning, quantization, vit_trainer

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
