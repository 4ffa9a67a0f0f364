from dataclasses import dataclass

import pytest

from hf_compress import MSE, CompressionError, Distillation, ForwardKL, ModelTeacher
from hf_compress.distillation.configuration import WeightedLoss
from hf_compress.distillation.teacher import Teacher
from tests.distillation.inside import Maps, States


@dataclass(frozen=True, kw_only=True)
class Silent(Teacher):
    name = "silent"


def test_pairs_and_terms_are_one_and_the_task_has_what_the_weights_leave():
    job = Distillation(losses=[(0.5, ForwardKL()), WeightedLoss(weight=0.2, loss=MSE())])
    assert job == Distillation(losses=(WeightedLoss(weight=0.5), WeightedLoss(weight=0.2, loss=MSE())))
    assert job.effective_task_weight == pytest.approx(0.3)
    assert Distillation(losses=[(3.0, MSE())], task_weight=0.25).effective_task_weight == 0.25
    assert Distillation().effective_task_weight == 0.5 and Distillation().teacher == ModelTeacher()


def test_what_is_needed_is_what_the_losses_name_in_one_order():
    assert Distillation().needs == ("logits",)
    assert Distillation(losses=[(0.5, States())]).needs == ("hidden_states",)
    every = [(0.2, Maps()), (0.2, States()), (0.2, States(layer=0)), (0.2, ForwardKL())]
    assert Distillation(losses=every).needs == ("logits", "hidden_states", "attentions")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"losses": []}, "losses is empty; name at least one"),
        ({"losses": [(0.6, MSE()), (0.6, MSE())]}, "weights sum to 1.2, so no share is left"),
        ({"losses": [(0.0, MSE())]}, "weight=0.0 must be above 0"),
        ({"losses": [0.5]}, "each is a pair of weight and loss"),
        ({"task_weight": -1.0}, "task_weight=-1.0 must be 0 or more"),
        (
            {"teacher": Silent(), "losses": [(0.5, States())]},
            "states needs hidden_states of the teacher, and teacher 'silent' gives logits",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(made, message):
    with pytest.raises(CompressionError, match=message):
        Distillation(**made)
