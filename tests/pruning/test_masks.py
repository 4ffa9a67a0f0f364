"""Masks that live beside a model while it trains."""

import logging

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import as_stored
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from tests.tiny import tiny_gpt2, tiny_llama, tiny_vit

MODELS = {
    "Linear": (tiny_llama, ["Linear"]),
    "Conv1D": (tiny_gpt2, ["Conv1D"]),
    "Conv2d": (tiny_vit, ["Conv2d"]),
    "channels-last": (lambda: tiny_vit().to(memory_format=torch.channels_last), ["Conv2d"]),
}


@pytest.fixture(params=MODELS)
def masks(request):
    build, targets = MODELS[request.param]
    masks = Masks(build(), Pruning(schedule=Constant(final=0.5), targets=targets))
    masks.update(0.5)
    return masks


def stored(masks):
    """(module, weight, mask in the weight's own shape) of every masked module."""
    for name, keep in masks.keep.items():
        module = masks.modules[name]
        yield module, module.weight, as_stored(module, keep)


def test_by_hand_the_smaller_half_becomes_zero():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight.data = torch.tensor([[1.0, -4.0], [3.0, -2.0]])
    masks = Masks(model, Pruning())
    masks.update(0.5)
    masks.apply()
    assert model[0].weight.tolist() == [[0.0, -4.0], [3.0, 0.0]]
    assert masks.sparsity().item() == 0.5


def test_apply_zeroes_the_pruned_weights_and_no_others(masks):
    before = [weight.clone() for _, weight, _ in stored(masks)]
    masks.apply()
    for (_, weight, keep), old in zip(stored(masks), before, strict=True):
        assert torch.equal(weight, old * keep)
    assert masks.sparsity().item() == pytest.approx(0.5, abs=1e-3)


def test_gradients_of_pruned_weights_become_zero_and_others_stay(masks):
    generator = torch.Generator().manual_seed(0)
    for _, weight, _ in stored(masks):
        weight.grad = torch.randn(weight.shape, generator=generator)
    before = [weight.grad.clone() for _, weight, _ in stored(masks)]
    masks.apply_to_gradients()
    for (_, weight, keep), old in zip(stored(masks), before, strict=True):
        assert torch.equal(weight.grad, old * keep)


def test_a_module_without_a_gradient_is_no_error(masks):
    masks.apply_to_gradients()
    assert all(weight.grad is None for _, weight, _ in stored(masks))


def test_adams_moments_of_pruned_weights_become_zero_and_its_step_count_stays(masks):
    weights = [weight for _, weight, _ in stored(masks)]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    masks.apply_to_optimizer(optimizer)
    for _, weight, keep in stored(masks):
        state = optimizer.state[weight]
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(state[moment] != 0, keep), moment
        assert state["step"].item() == 1


def test_an_optimizer_that_has_not_stepped_is_no_error(masks):
    optimizer = torch.optim.AdamW([weight for _, weight, _ in stored(masks)])
    masks.apply_to_optimizer(optimizer)
    assert not optimizer.state


def test_masks_read_back_from_zeros_are_the_masks_that_were_applied(masks):
    masks.apply()
    applied = dict(masks.keep)
    masks.keep = {}
    masks.read_zeros()
    assert all(torch.equal(masks.keep[name], keep) for name, keep in applied.items())


def test_what_is_pruned_stays_pruned_when_the_sparsity_grows_after_training_steps():
    model = tiny_llama()
    masks = Masks(model, Pruning())
    generator = torch.Generator().manual_seed(0)
    pruned = None
    for sparsity in (0.2, 0.2, 0.4, 0.6):
        masks.update(sparsity)
        masks.apply()
        if pruned is not None:
            assert all(not (masks.keep[name] & pruned[name]).any() for name in pruned)
        pruned = {name: ~keep for name, keep in masks.keep.items()}
        for module in masks.modules.values():
            noise = torch.randn(module.weight.shape, generator=generator)
            module.weight.data.add_(noise * (module.weight != 0), alpha=0.01)


def test_nothing_of_the_masks_is_in_the_model():
    model = tiny_llama()
    keys, names = list(model.state_dict()), [name for name, _ in model.named_parameters()]
    masks = Masks(model, Pruning())
    masks.update(0.5)
    masks.apply()
    assert list(model.state_dict()) == keys
    assert [name for name, _ in model.named_parameters()] == names


def test_bf16_weights_become_exactly_zero():
    model = tiny_llama().to(torch.bfloat16)
    masks = Masks(model, Pruning())
    masks.update(0.5)
    masks.apply()
    assert masks.sparsity().item() >= 0.5
    assert {module.weight.dtype for module in masks.modules.values()} == {torch.bfloat16}


def test_weights_are_counted_over_matched_modules_only():
    masks = Masks(tiny_llama(), Pruning(targets=["re:.*layers\\.0\\.mlp\\.up_proj"]))
    assert list(masks.modules) == ["model.layers.0.mlp.up_proj"]
    assert masks.num_weights() == 64 * 32


def test_modules_without_a_matrix_are_refused_before_the_first_mask():
    with pytest.raises(CompressionError, match=r"LlamaRMSNorm has no \(out, in\) weight matrix"):
        Masks(tiny_llama(), Pruning(targets=["LlamaRMSNorm"]))


def noisy(masks, generator):
    """A training step's worth of change to every weight that is not held."""
    for module in masks.modules.values():
        module.weight.data.add_(torch.randn(module.weight.shape, generator=generator), alpha=0.1)
    masks.apply()


@pytest.mark.parametrize("changes", [{}, {"allocation": Global()}, {"pattern": NM()}])
def test_zeros_that_are_there_stay_and_the_sparsity_never_falls(changes):
    model = tiny_llama()
    prune(model, Pruning(schedule=Constant(final=0.3), targets=[r"re:.*layers\.0\..*_proj"]))
    prune(model, Pruning(schedule=Constant(final=0.7), targets=[r"re:.*layers\.1\..*_proj"]))
    masks = Masks(model, Pruning(schedule=Constant(final=0.5), **changes))
    before = {name: module.weight == 0 for name, module in masks.modules.items()}
    masks.hold_zeros()
    reached = masks.num_pruned()
    assert reached == sum(int(zeros.sum()) for zeros in before.values())
    generator = torch.Generator().manual_seed(0)
    for sparsity in (0.0, 0.1, 0.4, 0.5):
        noisy(masks, generator)
        masks.update(sparsity)
        masks.apply()
        assert masks.num_pruned() >= reached
        reached = masks.num_pruned()
    assert all((masks.modules[name].weight[zeros] == 0).all() for name, zeros in before.items())
    assert reached >= masks.fewest_zeros(0.5)


def test_a_sparse_layer_of_the_right_sparsity_keeps_exactly_its_zeros_and_a_denser_one_is_pruned_further():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].weight.data = torch.tensor([[0.0, 9.0], [0.0, 8.0]])
    model[1].weight.data = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    masks = Masks(model, Pruning(schedule=Constant(final=0.5)))
    masks.hold_zeros()
    model[0].weight.data = torch.tensor([[5.0, 0.1], [5.0, 0.2]])  # what an optimizer step may do to them
    masks.update(0.5)
    assert masks.keep["0"].tolist() == [[False, True], [False, True]]
    assert masks.keep["1"].tolist() == [[False, True], [True, False]]


def test_unstructured_zeros_are_kept_inside_a_two_four_pattern():
    model = nn.Sequential(nn.Linear(8, 1))
    model[0].weight.data = torch.tensor([[0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]])
    masks = Masks(model, Pruning(pattern=NM(), schedule=Constant(final=0.5)))
    masks.hold_zeros()
    masks.update(0.5)
    assert masks.keep["0"].tolist() == [[False, False, False, True, False, False, True, True]]


def test_a_layer_that_is_zero_throughout_is_new_and_gets_no_mask():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nn.init.zeros_(model[0].weight)
    masks = Masks(model, Pruning(schedule=Constant(final=0.5)))
    masks.hold_zeros()
    assert not masks.keep
    assert list(masks.free_zeros()) == ["0"]


def test_masks_come_back_also_where_weights_are_zero_by_themselves():
    model = tiny_llama()
    first = model.model.layers[0].mlp.up_proj.weight
    masks = Masks(model, Pruning(schedule=Constant(final=0.5)))
    masks.update(0.3)
    masks.apply()
    with torch.no_grad():
        first[masks.keep["model.layers.0.mlp.up_proj"]] = 0.0  # free, and zero
    applied, free = dict(masks.keep), masks.free_zeros()
    assert list(free) == ["model.layers.0.mlp.up_proj"]
    again = Masks(model, masks.pruning)
    again.read_zeros(free)
    assert all(torch.equal(again.keep[name], keep) for name, keep in applied.items())


def test_modules_that_were_left_out_are_named(caplog):
    model = nn.Sequential(nn.Linear(4, 4), torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    masks = Masks(model, Pruning())
    assert list(masks.modules) == ["0"] and list(masks.left_out) == ["1"]
    with caplog.at_level(logging.WARNING):
        prune(model, Pruning(schedule=Constant(final=0.5)))
    assert "pruning leaves out 1: its weight is computed" in caplog.text
