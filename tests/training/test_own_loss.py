"""Which loss a trainer with the mixin computes itself, and what the head is told where it does not."""

import pytest
import torch

from tests.tiny import tiny_llama
from tests.training.runs import distillation, llama_trainer, pruning

TOKENS = {"input_ids": torch.arange(3, 11).view(1, 8), "labels": torch.arange(3, 11).view(1, 8)}


def test_with_a_teacher_it_is_the_step_of_distillation(tmp_path):
    loss = llama_trainer(tmp_path, {"distillation": distillation()})._own_loss
    assert loss.step is loss.distillation is not None


def test_without_anything_it_is_the_hosts_and_the_head_is_told_all(tmp_path):
    trainer = llama_trainer(tmp_path, {})
    assert trainer._own_loss.step is None and trainer._own_loss.distillation is None
    assert trainer._own_loss.compute(trainer, trainer.model.train(), TOKENS, 7) is None
    assert trainer._own_loss.items_for_head(trainer, 7) == 7
    assert trainer._own_loss.items_for_head(trainer, 0) == 0, "the plain Trainer's, bit for bit"
    assert trainer._own_loss.logs(trainer) == {}


@pytest.mark.parametrize("given", [0, torch.tensor(0)])
def test_a_step_without_a_label_is_not_divided_by_nothing(given, tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning()})
    trainer.model.train()
    assert int(trainer._own_loss.items_for_head(trainer, given)) == 1
    trainer.model.eval()
    assert int(trainer._own_loss.items_for_head(trainer, given)) == 0


def test_in_evaluations_the_host_computes_the_loss(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": distillation()})
    assert trainer._own_loss.compute(trainer, trainer.model.train(), TOKENS, 7) is not None
    assert trainer._own_loss.compute(trainer, trainer.model.eval(), TOKENS, None) is None


def test_a_model_of_model_init_takes_the_place_of_the_first(tmp_path):
    trainer = llama_trainer(tmp_path, {"distillation": distillation()})
    before = trainer._own_loss.step
    other = llama_trainer(tmp_path, {"distillation": distillation()}, model=tiny_llama(seed=3))._own_loss.distillation
    trainer._own_loss.follow(other, trainer.model)
    assert trainer._own_loss.step is trainer._own_loss.distillation is other is not before
