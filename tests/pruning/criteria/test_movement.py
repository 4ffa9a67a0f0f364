"""score = -sum w * dL/dw over the steps so far."""

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from hf_compress import Cubic
from hf_compress._errors import CompressionError
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.movement import Movement
from hf_compress.pruning.criterion import ACCUMULATED
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from tests.training.runs import llama_trainer

NAME = "model.layers.0.mlp.up_proj"


def job(**changes):
    schedule = Cubic(**{"final": 0.5, "begin": 3, "end": 6, "every": 1, **changes})
    return {"pruning": Pruning(criterion=Movement(), schedule=schedule, targets=["re:.*up_proj"])}


def test_two_steps_by_hand():
    movement, total = Movement(), None
    for weight, gradient in ((torch.tensor([[1.0, -2.0]]), [[3.0, 1.0]]), (torch.tensor([[0.5, -2.0]]), [[-1.0, 4.0]])):
        total = movement.accumulate(weight, torch.tensor(gradient), total)
    assert total.tolist() == [[-3.0 + 0.5, 2.0 + 8.0]]
    assert torch.equal(movement.score(weight, {ACCUMULATED: total}), total)


def test_a_weight_that_descent_drives_away_from_zero_scores_above_one_that_shrinks():
    total = Movement().accumulate(torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[-1.0, 1.0, 1.0]]), None)
    assert total.tolist() == [[1.0, -1.0, 1.0]]


class Noted(TrainerCallback):
    """Weight and gradient of every step, as the optimizer gets them."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        weight = model.get_submodule(NAME).weight
        self.steps.append((weight.detach().double(), weight.grad.double()))


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 2}, {"max_grad_norm": 0.0}])
def test_in_training_the_masks_are_those_of_a_sum_over_the_steps(changes, tmp_path):
    noted = Noted()
    trainer = llama_trainer(tmp_path, job(begin=6), callbacks=[noted], max_steps=6, **changes)
    trainer.train()
    expected = -sum(weight * gradient for weight, gradient in noted.steps)
    total = trainer.progress.pruning.accumulated.totals[NAME]
    assert len(noted.steps) == 6
    torch.testing.assert_close(total.double(), expected, rtol=1e-4, atol=1e-9)
    keep = trainer.progress.masks.keep[NAME]
    assert float(total[~keep].max()) <= float(total[keep].min()) and int((~keep).sum()) == keep.numel() // 2
    magnitude = noted.steps[-1][0].abs()
    assert not torch.equal(keep, magnitude >= magnitude.flatten().sort().values[keep.numel() // 2])


def test_where_nothing_is_trained_it_is_refused_in_one_sentence():
    model = nn.Sequential(nn.Linear(4, 4))
    before = model[0].weight.clone()
    with pytest.raises(
        CompressionError, match="'movement' scores by what gradients add up to .* and prune.. trains nothing; "
    ):
        prune(model, Pruning(criterion=Movement(), schedule=Constant(final=0.5)))
    assert torch.equal(model[0].weight, before)
