import math

import pytest
import torch
from peft.utils import merge_utils

from hf_compress._errors import CompressionError
from hf_compress.merging import operands as operands_module
from hf_compress.merging.methods.dare_linear import DareLinear
from tests.merging.merged import merged, models, operands_of


def drawn_masks(operands, density):
    """Which elements stay, from the generators the contract promises: one per member and chunk."""
    masks = []
    for member in range(len(operands.tensors)):
        parts = [
            torch.rand(chunk.tensors[0].numel(), generator=chunk.generator(member)) < density for chunk in operands.chunks()
        ]
        masks.append(torch.cat(parts).reshape(operands.tensors[0].shape))
    return masks


def test_what_stays_is_divided_by_the_density_by_hand():
    operands = operands_of([torch.full((8,), 3.0), torch.full((8,), 5.0)], torch.full((8,), 1.0), weight=(1.0, 0.5))
    ada, bob = drawn_masks(operands, 0.25)
    assert torch.equal(merged(DareLinear(density=0.25), operands), 1 + 8 * ada.float() + 8 * bob.float())
    assert torch.equal(merged(DareLinear(density=0.25, rescale=False), operands), 1 + 2 * ada.float() + 2 * bob.float())


def test_the_expected_value_is_the_task_vector():
    num_elements, density = 200_000, 0.1
    operands = operands_of([torch.ones(num_elements)], torch.zeros(num_elements))
    result = merged(DareLinear(density=density), operands)
    error = math.sqrt(density * (1 - density) / num_elements) / density
    assert abs(result.mean().item() - 1) < 5 * error
    assert set(result.unique().tolist()) == {0.0, 10.0}


def test_all_at_density_one_and_nothing_at_zero():
    members, base = models((6, 5), num_members=2)
    result = merged(DareLinear(), operands_of(members, base, density=(1.0, 0.0)))
    torch.testing.assert_close(result, members[0], rtol=0, atol=5e-7)  # base + (member - base) rounds


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(monkeypatch):
    monkeypatch.setattr(operands_module, "CHUNK", 128)
    members, base = models((40, 25))
    method = DareLinear(density=0.5)
    first = merged(method, operands_of(members, base))
    assert torch.equal(first, merged(method, operands_of(members, base), reverse=True))
    assert not torch.equal(first, merged(method, operands_of(members, base, seed=1)))
    assert not torch.equal(first, merged(method, operands_of(members, base, name="other.weight")))


@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_paper_and_compat_peft_equal_peft_under_the_same_mask(density, monkeypatch):
    members, base = models((12, 9))
    operands = operands_of(members, base, weight=(0.7, -0.2, 1.5), density=[density] * 3)
    masks = iter(drawn_masks(operands, density))
    monkeypatch.setattr(torch, "bernoulli", lambda probabilities: next(masks).float())
    expected = base + merge_utils.dare_linear([m - base for m in members], torch.tensor((0.7, -0.2, 1.5)), density)
    for compat in ("paper", "peft"):
        # A few roundings of numbers near 5.
        torch.testing.assert_close(merged(DareLinear(compat=compat), operands), expected, rtol=0, atol=1e-6)


def test_compat_mergekit_restores_the_l1_norm_instead():
    [member], base = models((30, 30), num_members=1)
    operands = operands_of([member], base)
    result = merged(DareLinear(density=0.3, compat="mergekit"), operands) - base
    [mask] = drawn_masks(operands, 0.3)
    vector = (member - base) * mask
    expected = vector * (member - base).abs().sum() / vector.abs().sum()
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)  # base + x - base rounds


def test_infinite_numbers_are_refused_even_where_they_would_be_dropped():
    members, base = models((10,))
    members[2][0] = float("inf")
    with pytest.raises(CompressionError, match=r"layer.weight: cyd holds NaN or infinite"):
        merged(DareLinear(density=0.0), operands_of(members, base))
