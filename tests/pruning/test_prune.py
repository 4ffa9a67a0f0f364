"""One-shot pruning and the masks behind it."""

import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import weight_matrix
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.allocations.uniform import Uniform
from hf_compress.pruning.compute import compute_masks, measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.ptq import quantize
from tests.pruning.needy import Needy
from tests.tiny import tiny_gpt2, tiny_llama, tiny_vit


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


def test_half_of_a_small_layer_by_hand():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight.data = torch.tensor([[1.0, -4.0], [3.0, -2.0]])
    masks = prune(model, half())
    assert masks["0"].tolist() == [[False, True], [True, False]]
    assert model[0].weight.tolist() == [[0.0, -4.0], [3.0, 0.0]]


def test_kept_weights_and_everything_ignored_stay_as_they_were():
    model = tiny_llama()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks = prune(model, half())
    for name, tensor in model.state_dict().items():
        keep = masks.get(name.removesuffix(".weight"))
        expected = before[name] if keep is None else before[name] * keep
        assert torch.equal(tensor, expected), name
    assert "lm_head" not in masks


def test_pruning_twice_prunes_nothing_more():
    model = tiny_llama()
    first = prune(model, half())
    again = prune(model, half())
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("build", "targets"),
    [
        (tiny_gpt2, ["Conv1D"]),
        (tiny_vit, ["Conv2d"]),
        (lambda: tiny_vit().to(memory_format=torch.channels_last), ["Conv2d"]),
    ],
)
def test_conv1d_and_convolutions_are_pruned_in_place_whatever_their_layout(build, targets):
    model = build()
    masks = prune(model, half(targets=targets))
    modules = dict(model.named_modules())
    for name, keep in masks.items():
        assert torch.equal(weight_matrix(modules[name]) != 0, keep), name
        assert int((~keep).sum()) == round(keep.numel() / 2), name


def test_two_four_runs_along_the_inputs_of_a_conv1d():
    model = tiny_gpt2()
    prune(model, half(pattern=NM(n=2, m=4), targets=["Conv1D"]))
    stored = model.transformer.h[0].mlp.c_fc.weight  # (I, O)
    assert ((stored.t().reshape(-1, 4) != 0).sum(-1) == 2).all()


def test_a_global_threshold_prunes_layers_unevenly_and_exactly_overall():
    model = tiny_llama()
    model.model.layers[0].mlp.up_proj.weight.data.mul_(10)
    prune(model, half(allocation=Global()))
    measured = measure_sparsity(model, half())
    assert measured[""] == pytest.approx(0.5, abs=1e-4)  # one weight of 18432
    assert measured["model.layers.0.mlp.up_proj"] < 0.2
    assert measured["model.layers.1.mlp.up_proj"] > 0.5


@pytest.mark.parametrize("allocation", [Global(), Uniform()])
def test_the_scores_of_all_layers_never_stand_there_at_once(allocation):
    alive, most = weakref.WeakSet(), []

    class Watched(Magnitude):
        name = "watched"

        def score(self, weight, stats):
            score = super().score(weight, stats)
            alive.add(score.untyped_storage())
            most.append(len(alive))
            return score

    model = nn.Sequential(*[nn.Linear(300, 300) for _ in range(6)])
    pruning = half(allocation=allocation)
    masks = compute_masks(dict(model.named_children()), replace(pruning, criterion=Watched()), 0.5)
    expected = compute_masks(dict(model.named_children()), pruning, 0.5)
    assert max(most) <= 2 and all(torch.equal(masks[name], expected[name]) for name in expected)


def test_statistics_reach_the_criterion_by_layer():
    layers = {"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)}
    for layer in layers.values():
        layer.weight.data = torch.tensor([[1.0, 2.0]])
    stats = {"a": {"input_norm": torch.tensor([1.0, 1.0])}, "b": {"input_norm": torch.tensor([9.0, 1.0])}}
    masks = compute_masks(layers, half(criterion=Needy()), 0.5, stats)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"a": [[False, True]], "b": [[True, False]]}


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(poison):
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = poison
    with pytest.raises(CompressionError, match=r"scores of model\.layers\.1\.mlp\.up_proj are not finite"):
        prune(model, half())


def test_measuring_counts_zeros_per_layer_and_weighted_overall():
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(6, 1))
    model[0].weight.data = torch.tensor([[0.0, 1.0]])
    model[1].weight.data = torch.tensor([[1.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    assert measure_sparsity(model, half()) == {"": 0.25, "0": 0.5, "1": pytest.approx(1 / 6)}


def test_a_target_that_is_no_matrix_is_refused():
    with pytest.raises(CompressionError, match=r"LlamaRMSNorm has no \(out, in\) weight matrix"):
        prune(tiny_llama(), half(targets=["LlamaRMSNorm"]))


CONVOLUTIONS = {
    "Conv2d": lambda: nn.Conv2d(8, 4, 3),
    "1x1": lambda: nn.Conv2d(8, 4, 1),
    "uneven kernel": lambda: nn.Conv2d(4, 4, (2, 5)),
    "channels-last": lambda: nn.Conv2d(8, 4, 3).to(memory_format=torch.channels_last),
    "grouped": lambda: nn.Conv2d(16, 4, 3, groups=2),
    "Conv1d": lambda: nn.Conv1d(8, 4, 3),
    "Conv3d": lambda: nn.Conv3d(4, 4, 2),
}


def one_layer(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(build())


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_two_four_in_a_convolution_runs_along_the_input_channels(kind):
    """Each output and kernel position, four channels at a time, by hand."""
    model = one_layer(CONVOLUTIONS[kind])
    before = model[0].weight.detach().clone()
    prune(model, half(pattern=NM(), targets=[type(model[0]).__name__]))
    after = model[0].weight.detach()
    channels = before.shape[1]
    for output in range(before.shape[0]):
        for position in torch.cartesian_prod(*(torch.arange(size) for size in before.shape[2:])).reshape(
            -1, before.dim() - 2
        ):
            at = tuple(position.tolist())
            for first in range(0, channels, 4):
                group = [(output, channel, *at) for channel in range(first, first + 4)]
                largest = sorted(group, key=lambda place: -abs(float(before[place])))[:2]
                for place in group:
                    assert after[place] == (before[place] if place in largest else 0), (kind, place)


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_unstructured_pruning_of_a_convolution_ranks_its_weights_in_memory_order(kind):
    model = one_layer(CONVOLUTIONS[kind])
    weight = model[0].weight.detach().round(decimals=1).clone()  # with ties
    model[0].weight.data = weight.clone(memory_format=torch.preserve_format)
    prune(model, half(targets=[type(model[0]).__name__]))
    order = sorted(range(weight.numel()), key=lambda index: (-float(weight.flatten()[index].abs()), index))
    kept = set(order[: weight.numel() - round(weight.numel() / 2)])
    for index, (old, new) in enumerate(zip(weight.flatten(), model[0].weight.flatten(), strict=True)):
        assert new == (old if index in kept else 0)


def test_what_is_zero_counts_first_and_stays():
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight.data = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    assert prune(model, half())["0"].tolist() == [[False, False], [True, True]]
    assert prune(model, Pruning(schedule=Constant(final=0.3)))["0"].tolist() == [[False, False], [True, True]]


def test_a_quantized_model_is_refused_with_the_order_to_keep():
    model = tiny_llama()
    quantize(model, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match="already quantized.*prune before you quantize"):
        prune(model, Pruning())
