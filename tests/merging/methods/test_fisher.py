import dataclasses

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.fisher import Fisher
from hf_compress.merging.operands import CHUNK, Operands


def operands(tensors, fishers=None, weights=(1.0, 1.0)):
    statistics = {} if fishers is None else {"fisher": tuple(torch.as_tensor(fisher) for fisher in fishers)}
    tensors = tuple(torch.as_tensor(tensor) for tensor in tensors)
    return Operands(name="w", members=("a", "b"), tensors=tensors, values={"weight": weights}, statistics=statistics)


def test_a_hand_computed_example_with_each_kind_of_element():
    #            both count     one is 0       none: mean     tiny ones
    first, second = [1.0, 1.0, 1.0, 2.0], [4.0, 5.0, 3.0, 4.0]
    fishers = [[2.0, 0.0, 0.0, 1e-36], [1.0, 7.0, 0.0, 3e-36]]
    merged = Fisher().merge(operands([first, second], fishers), None)
    torch.testing.assert_close(merged, torch.tensor([2.0, 5.0, 2.0, 3.5]))


def test_weights_multiply_the_fishers_and_a_weight_of_zero_falls_back_to_the_mean():
    merged = Fisher().merge(operands([[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]], weights=(3.0, 0.0)), None)
    torch.testing.assert_close(merged, torch.tensor([0.0, 0.0]))


def test_equal_fishers_give_the_weighted_mean_and_so_do_tensors_without_one():
    tensors = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    mean = (tensors[0] + 3 * tensors[1]) / 4
    same = torch.rand(50, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.testing.assert_close(Fisher().merge(operands(tensors, [same, same], (1.0, 3.0)), None), mean)
    torch.testing.assert_close(Fisher().merge(operands(tensors, None, (1.0, 3.0)), None), mean)


def test_a_floor_gives_small_fishers_the_same_say():
    merged = Fisher(floor=1.0).merge(operands([[0.0], [1.0]], [[1e-9], [0.5]]), None)
    torch.testing.assert_close(merged, torch.tensor([0.5]))


def test_chunks_and_the_whole_tensor_give_the_same_bits():
    generator = torch.Generator().manual_seed(0)
    tensors, fishers = torch.randn(2, CHUNK + 7, generator=generator), torch.rand(2, CHUNK + 7, generator=generator)
    whole = operands(tensors, fishers)
    parts = torch.cat([Fisher().merge(part, None) for part in whole.chunks()])
    assert torch.equal(parts, Fisher().merge(dataclasses.replace(whole, offset=0), None))


def test_negative_fishers_weights_and_floors_are_refused():
    with pytest.raises(CompressionError, match="w: the Fisher of b has negative values"):
        Fisher().merge(operands([[0.0], [1.0]], [[1.0], [-1.0]]), None)
    with pytest.raises(CompressionError, match=r"w: fisher multiplies precisions by the weights \[1.0, -0.5\]"):
        Fisher().check_weights((1.0, -0.5), "w")
    with pytest.raises(CompressionError, match="floor=-1 is negative"):
        Fisher(floor=-1)
