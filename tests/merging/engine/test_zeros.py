"""Zeros of members and what the result keeps."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import Sparsity
from hf_compress.merging.engine.zeros import ZerosPolicy, count_zeros, prune_smallest_


def _sparse(seed, share=0.5, shape=(64, 48)):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    return weight * (torch.rand(shape, generator=generator) >= share)


def _run(setting, tensors, base=None, name="w"):
    policy = ZerosPolicy(setting, [f"m{index}" for index in range(len(tensors))])
    zeros = policy.survey(name, tensors, base)
    merged = torch.stack(tensors).mean(0)
    chunks = [
        policy.apply(zeros, part.clone(), [tensor.reshape(-1)[at : at + 100] for tensor in tensors], one_base)
        for at, part, one_base in _parts(merged, base)
    ]
    return policy, policy.finish(zeros, torch.cat(chunks).view_as(merged))


def _parts(merged, base):
    for at in range(0, merged.numel(), 100):
        yield at, merged.reshape(-1)[at : at + 100], None if base is None else base.reshape(-1)[at : at + 100]


def test_masks_by_hand():
    tensors = [torch.tensor([[1.0, 0.0, 2.0, 0.0]]), torch.tensor([[3.0, 4.0, 0.0, 0.0]])]
    base = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    assert _run(Sparsity(policy="union"), tensors)[1].tolist() == [[2, 2, 1, 0]]
    assert _run(Sparsity(policy="intersection"), tensors)[1].tolist() == [[2, 0, 0, 0]]
    assert _run(Sparsity(policy="base"), tensors, base)[1].tolist() == [[0, 2, 1, 0]]
    assert _run(Sparsity(policy="measure"), tensors)[1].tolist() == [[2, 2, 1, 0]]
    assert _run(Sparsity(policy="prune"), tensors)[1].tolist() == [[2, 2, 0, 0]]


def test_measuring_shows_how_averaging_two_masks_loses_zeros():
    policy, result = _run(Sparsity(), [_sparse(0), _sparse(1)])
    row = policy.report()["tensors"]["w"]
    assert row == policy.report()["overall"]
    assert row["m0"] == pytest.approx(0.5, abs=0.05)
    assert row["result"] == count_zeros(result) / result.numel() == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize("sparsity", [None, 0.3, 0.9])
def test_pruning_again_reaches_the_sparsity_exactly(sparsity):
    tensors = [_sparse(0, 0.4), _sparse(1, 0.6)]
    _, result = _run(Sparsity(policy="prune", sparsity=sparsity), tensors)
    share = max(count_zeros(tensor) for tensor in tensors) / tensors[0].numel() if sparsity is None else sparsity
    assert count_zeros(result) == max(round(share * result.numel()), count_zeros(torch.stack(tensors).mean(0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 777, 2999, 3000])
def test_the_smallest_are_pruned_as_a_stable_sort_would(dtype, count):
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randn(50, 60, generator=generator).mul(8).round().div(8).to(dtype)  # many equal magnitudes
    flat = tensor.flatten().clone()
    # Of equal magnitudes the higher index goes first: sort from the end.
    order = flat.abs().flip(0).sort(stable=True).indices
    flat[len(flat) - 1 - order[:count]] = 0
    assert torch.equal(prune_smallest_(tensor.clone(), count).flatten(), flat)


def test_ties_across_chunks_are_settled_by_index():
    tensor = torch.ones(2**18 + 10)
    prune_smallest_(tensor, 15)
    assert tensor.nonzero().flatten().tolist() == list(range(2**18 - 5))


def test_dense_tensors_and_biases_are_left_alone():
    dense = [torch.randn(512, 1024, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    policy = ZerosPolicy(Sparsity(policy="intersection"), ["m0", "m1"])
    zeros = policy.survey("w", dense, None)
    assert not zeros.pruned
    assert not policy.survey("bias", [torch.zeros(8), torch.ones(8)], None).pruned
    assert policy.report() == {
        "policy": "intersection",
        "note": "no weight of any model has more than 1% zeros, so it had nothing to do",
    }
    assert ZerosPolicy(Sparsity(), ["m0"]).report() == {}


def test_pruned_rows_and_columns_of_a_large_tensor_are_not_missed():
    for cut in (slice(0, 512), slice(1, None, 2)):
        weight = torch.ones(1024, 1024)
        weight[:, cut] = 0
        policy = ZerosPolicy(Sparsity(), ["m0"])
        assert policy.survey("w", [weight], None).members["m0"] == 2**19
        assert policy.survey("w", [weight.T], None).members["m0"] == 2**19


def test_a_sparsity_without_its_policy_and_a_missing_base_are_refused():
    with pytest.raises(CompressionError, match="sparsity=0.5 with policy 'union'"):
        ZerosPolicy(Sparsity(policy="union", sparsity=0.5), ["m0"])
    with pytest.raises(CompressionError, match="there is no base; name one"):
        ZerosPolicy(Sparsity(policy="base"), ["m0"]).survey("w", [_sparse(0)], None)
