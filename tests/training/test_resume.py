"""A straight run and an interrupted, resumed run end with the same bits."""

import shutil
from pathlib import Path

import pytest
import torch
from transformers import Trainer, TrainerCallback

from hf_compress import CompressionError
from tests.tiny import tiny_vit
from tests.training.runs import (
    arguments,
    assert_equal_bits,
    distillation,
    everything,
    image_rows,
    llama_trainer,
    pruning,
    quantization,
    vit_trainer,
    weights,
)

OLD = Path(__file__).parents[1] / "checkpoints" / "old_manifests"
"""compression.json of step 6 of `everything`, as older versions wrote it."""


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_training_stop = True


JOBS = {
    "everything": everything,
    "pruning": lambda: {"pruning": pruning()},
    "quantization": lambda: {"quantization": quantization()},
    "distillation": lambda: {"distillation": distillation()},
}


@pytest.mark.parametrize("jobs", JOBS.values(), ids=JOBS.keys())
@pytest.mark.parametrize("stop", [3, 6, 9])
def test_resumed_run_equals_straight_run_bit_for_bit(jobs, stop, tmp_path):
    straight = llama_trainer(tmp_path / "straight", jobs())
    straight.train()
    interrupted = llama_trainer(tmp_path / "resumed", jobs(), callbacks=[StopAt(stop)])
    interrupted.train()
    assert interrupted.state.global_step == stop
    resumed = llama_trainer(tmp_path / "resumed", jobs())
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    assert_equal_bits(weights(straight.model), weights(resumed.model))


@pytest.mark.parametrize("changes", [{"optim": "sgd"}, {"max_grad_norm": 0.0}, {"gradient_accumulation_steps": 2}])
def test_resumed_run_equals_straight_run_under_other_training_arguments(changes, tmp_path):
    straight = llama_trainer(tmp_path / "straight", **changes)
    straight.train()
    shutil.copytree(tmp_path / "straight" / "checkpoint-6", tmp_path / "resumed" / "checkpoint-6")
    resumed = llama_trainer(tmp_path / "resumed", **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "resumed" / "checkpoint-6"))
    assert_equal_bits(weights(straight.model), weights(resumed.model))


def test_resumed_vit_equals_straight_run_bit_for_bit(tmp_path):
    straight = vit_trainer(tmp_path / "straight")
    straight.train()
    interrupted = vit_trainer(tmp_path / "resumed", callbacks=[StopAt(6)])
    interrupted.train()
    resumed = vit_trainer(tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=True)
    assert_equal_bits(weights(straight.model), weights(resumed.model))


def _trained_vit(tmp_path):
    trainer = vit_trainer(tmp_path / "vit", {"pruning": pruning()}, max_steps=3)
    trainer.train()
    return trainer, tmp_path / "vit" / "checkpoint-3"


def test_loading_a_vit_checkpoint_restores_every_weight(tmp_path):
    trained, checkpoint = _trained_vit(tmp_path)
    fresh = vit_trainer(tmp_path / "fresh", {"pruning": pruning()}, max_steps=3)
    fresh._load_from_checkpoint(str(checkpoint))
    assert_equal_bits(weights(trained.model), weights(fresh.model))


def test_the_stock_trainer_does_not_restore_a_vit(tmp_path):
    """Why `restore_weights` exists; when this fails, transformers#48805 is fixed and the override can go."""
    trained, checkpoint = _trained_vit(tmp_path)
    model = tiny_vit(seed=5, num_labels=3)
    stock = Trainer(model=model, args=arguments(tmp_path / "stock"), train_dataset=image_rows(model))
    stock._load_from_checkpoint(str(checkpoint))
    differing = [n for n, t in weights(trained.model).items() if not torch.equal(t, stock.model.state_dict()[n])]
    assert differing


def test_resuming_under_other_settings_is_refused_before_weights_are_touched(tmp_path):
    llama_trainer(tmp_path, {"pruning": pruning()}, max_steps=3).train()
    other = llama_trainer(tmp_path, {"pruning": pruning(final=0.6)}, max_steps=6)
    before = weights(other.model)
    with pytest.raises(CompressionError, match="resume with the same settings"):
        other.train(resume_from_checkpoint=True)
    assert_equal_bits(before, weights(other.model))


def test_model_init_gives_the_same_run_as_a_model(tmp_path):
    from hf_compress import CompressionTrainer
    from tests.tiny import tiny_llama
    from tests.training.runs import text_rows

    given = llama_trainer(tmp_path / "given")
    given.train()
    made = CompressionTrainer(
        model_init=lambda: tiny_llama(seed=0),
        args=arguments(tmp_path / "made"),
        train_dataset=text_rows(),
        **everything(),
    )
    made.train()
    assert_equal_bits(weights(given.model), weights(made.model))


@pytest.mark.parametrize("file", sorted(OLD.iterdir()), ids=lambda file: file.stem)
def test_a_checkpoint_of_an_older_version_goes_on_with_the_same_bits(file, tmp_path):
    straight = llama_trainer(tmp_path / "straight")
    straight.train()
    llama_trainer(tmp_path / "resumed", callbacks=[StopAt(6)]).train()
    # The checkpoints of step 6 are alike but for this file.
    shutil.copy(file, tmp_path / "resumed" / "checkpoint-6" / "compression.json")
    resumed = llama_trainer(tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=True)
    assert_equal_bits(weights(straight.model), weights(resumed.model))
    assert resumed.compression_is_complete()
    with pytest.raises(CompressionError, match="was trained with quantization=.* and this run has quantization="):
        llama_trainer(tmp_path / "resumed", everything() | {"quantization": quantization(begin="70%")}).train(
            resume_from_checkpoint=str(tmp_path / "resumed" / "checkpoint-6")
        )
