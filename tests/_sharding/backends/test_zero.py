"""ZeRO 1 and 2: whole weights, and pieces of their masters; what several processes do is in the contract test."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_compress._sharding.backends.zero import ZeRO
from hf_compress._sharding.contract import is_sharded, sharding_of
from tests.distributed import deepspeed_on_cpu

package = deepspeed_on_cpu.PACKAGE
jobs = ("unstructured", "global")
"""Weights are whole, so that all other patterns are those of the plain sharding."""
ENGINES = {}


def lay_out(model, stage=2):
    """As an engine trains it."""
    deepspeed = deepspeed_on_cpu.start()
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {"stage": stage},
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    ENGINES[engine.module] = engine
    return engine.module


def trained(model):
    """A step whose gradients are the weights plus one."""
    import deepspeed

    engine, parameters = ENGINES[model], list(model.parameters())
    with deepspeed.zero.GatheredParameters(parameters):
        engine.backward(sum((parameter * (parameter.detach() + 1)).sum() for parameter in parameters))
    engine.step()
    return engine.optimizer


def states(parameter, optimizer):
    """Gathered by DeepSpeed."""
    from deepspeed.utils import safe_get_full_optimizer_state

    return [safe_get_full_optimizer_state(parameter, name) for name in ("exp_avg", "exp_avg_sq")]


@pytest.fixture
def weight():
    """The second and third number of four have their master here, behind one of another weight."""
    flat = torch.tensor([9.0, 2.001, 3.001])
    found = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).to(torch.bfloat16))
    found.optimizer = SimpleNamespace(param_groups=[{"params": [torch.zeros(5)]}, {"params": [flat]}], state={})
    found._hp_mapping = SimpleNamespace(
        lp_fragment_address=SimpleNamespace(start=1, numel=2),
        get_hp_fragment_address=lambda: SimpleNamespace(start=1, numel=2),
        get_hp_fragment=lambda: flat[1:],
        param_group_index=1,
    )
    return found


def test_an_edit_reaches_the_weight_and_the_piece_of_its_master_by_hand(weight):
    assert isinstance(sharding_of(weight), ZeRO) and not is_sharded(nn.ParameterList([weight]))
    with torch.no_grad():
        ZeRO().edit(weight, lambda part: part.mul_(torch.tensor([[True, False], [True, False]])))
    assert weight.tolist() == [[1.0, 0.0], [3.0, 0.0]]
    (master,) = weight.optimizer.param_groups[1]["params"]
    assert torch.equal(master, torch.tensor([9.0, 0.0, 3.001])), "its own digits, not those of 16 bits"


def test_momenta_are_edited_where_they_are(weight):
    def edit():
        ZeRO().edit_states(weight, weight.optimizer, lambda part: part.mul_(torch.tensor([[True, True], [False, False]])))

    edit()  # before the first step there are none
    (master,) = weight.optimizer.param_groups[1]["params"]
    weight.optimizer.state[master] = {"step": torch.tensor(1.0), "momentum": torch.tensor([5.0, 6.0, 7.0])}
    edit()
    kept = weight.optimizer.state[master]
    assert kept["momentum"].tolist() == [5.0, 6.0, 0.0] and kept["step"] == 1


def test_a_process_without_a_piece_edits_the_weight_alone(weight):
    weight._hp_mapping = None
    with torch.no_grad():
        ZeRO().edit(weight, lambda part: part.zero_())
        ZeRO().edit_states(weight, weight.optimizer, lambda part: part.zero_())
    assert not weight.any()


def test_gradients_are_changed_as_they_come_until_the_handle_is_removed(weight):
    assert ZeRO().gradient(weight) is None
    handle = ZeRO().follow_gradient(weight, lambda part: part.mul_(torch.tensor([[True, False], [True, True]])))
    kept = torch.ones(2, 2, dtype=torch.bfloat16)
    (weight * kept).sum().backward()
    assert weight.grad.tolist() == [[1.0, 0.0], [1.0, 1.0]] and kept.all(), "what came from elsewhere is not touched"
    handle.remove()
    (weight * kept).sum().backward()
    assert weight.grad.tolist() == [[2.0, 1.0], [2.0, 2.0]]
