"""A pass over pruned weights behind a step is left out where it would change nothing."""

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor

from hf_compress import NM, Constant, Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.training.standing_zeros import StandingZeros
from tests.training.runs import llama_trainer, pruning

OPTIMIZERS = {
    "AdamW": lambda given: torch.optim.AdamW(given, lr=0.1, weight_decay=0.3),
    "fused AdamW": lambda given: torch.optim.AdamW(given, lr=0.1, weight_decay=0.3, fused=True, amsgrad=True),
    "Adam with L2": lambda given: torch.optim.Adam(given, lr=0.1, weight_decay=0.3),
    "SGD with momentum": lambda given: torch.optim.SGD(given, lr=0.1, momentum=0.9, weight_decay=0.3),
    "SGD, Nesterov": lambda given: torch.optim.SGD(given, lr=0.1, momentum=0.9, nesterov=True),
    "Adafactor": lambda given: Adafactor(given, lr=0.1, relative_step=False, weight_decay=0.3),
    "RMSprop": lambda given: torch.optim.RMSprop(given, lr=0.1, momentum=0.9),
}


class Counting(Masks):
    passes = 0

    def apply(self):
        self.passes += 1
        super().apply()


def train(make, always, masked=True):
    """Ten steps, masks that move at the first and the sixth; the weights behind each, and how many passes that took."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 4))
    masks, standing, seen = (
        Counting(model, Pruning(pattern=NM(n=2, m=4), schedule=Constant(final=0.5))),
        StandingZeros(model),
        [],
    )
    optimizer = make(model.parameters())
    for step in range(10):
        model(torch.randn(16, 12)).square().mean().backward()
        if masked:
            masks.apply_to_gradients()
        optimizer.step()
        optimizer.zero_grad()
        if step in (0, 5):
            masks.update(0.25 if step == 0 else 0.5)
        standing.hold(masks, optimizer, moved=step in (0, 5))
        if always:
            masks.apply()
        seen.append([weight.detach().clone() for weight in model.parameters()])
        for name, keep in masks.keep.items():
            assert bool((masks.modules[name].weight[~keep] == 0).all()), (step, name)
    return seen, masks.passes


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_no_bit_differs_from_a_pass_behind_every_step(make):
    ours, passes = train(make, always=False)
    every, _ = train(make, always=True)
    for here, there in zip(ours, every, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    trusted = type(make([nn.Parameter(torch.ones(1))])) in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)
    assert passes == (2 if trusted else 10)


def test_gradients_that_nobody_has_masked_cost_the_pass():
    assert train(OPTIMIZERS["AdamW"], always=False, masked=False)[1] == 10


class Restless(torch.optim.AdamW):
    """Moves every weight, whatever its gradient."""

    @torch.no_grad()
    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for weight in group["params"]:
                weight.add_(1.0)


def test_a_subclass_is_not_taken_for_its_parent():
    assert train(lambda given: Restless(given, lr=0.1), always=False)[1] == 10


def test_moments_from_elsewhere_are_cleared_once():
    """A model with zeros and an optimizer that knew none of them: the first step already ends with zeros that stay."""
    model = nn.Sequential(nn.Linear(8, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(4, 8)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model[0].weight[:, ::2] = 0.0
    masks, standing = Masks(model, Pruning(masks="from_zeros")), StandingZeros(model)
    masks.hold_zeros()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 8)).sum().backward()
        masks.apply_to_gradients()
        optimizer.step()
        standing.hold(masks, optimizer, moved=False)
        assert bool((model[0].weight[:, ::2] == 0).all()) and bool(
            (optimizer.state[model[0].weight]["exp_avg"][:, ::2] == 0).all()
        )


def test_weights_that_are_no_numbers_stay_so():
    model = nn.Sequential(nn.Linear(8, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    masks, standing = Masks(model, Pruning(schedule=Constant(final=0.5))), StandingZeros(model)
    masks.update(0.5)
    for moved in (True, False):
        model(torch.full((2, 8), torch.nan)).sum().backward()
        masks.apply_to_gradients()
        optimizer.step()
        standing.hold(masks, optimizer, moved=moved)
    assert bool(model[0].weight.isnan().all())


def test_a_trainer_takes_the_pass_when_masks_move_and_no_more(tmp_path, monkeypatch):
    passes = []
    apply = Masks.apply
    monkeypatch.setattr(Masks, "apply", lambda masks: (passes.append(1), apply(masks))[1])
    trainer = llama_trainer(tmp_path, {"pruning": pruning()}, save_strategy="no")
    trainer.train()
    moves = [trainer.pruning.amount(step, 12) != trainer.pruning.amount(step - 1, 12) for step in range(1, 13)]
    assert len(passes) == sum(moves) + 1 - moves[0] and sum(moves) == 3
    trainer.finalize()
