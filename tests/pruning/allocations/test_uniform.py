"""The same sparsity everywhere."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.allocations.uniform import Uniform


def test_every_layer_gets_the_overall_sparsity_in_the_given_order():
    shares = Uniform().shares({"b": torch.ones(2, 2), "a": torch.zeros(4, 4)}, 0.3)
    assert list(shares.items()) == [("b", 0.3), ("a", 0.3)]


def test_scores_do_not_matter():
    generator = torch.Generator().manual_seed(0)
    first = {"a": torch.rand(3, 3, generator=generator)}
    assert Uniform().shares(first, 0.5) == Uniform().shares({"a": first["a"] * 100}, 0.5)


def test_it_takes_no_arguments():
    with pytest.raises(CompressionError, match="unknown argument of allocation 'uniform' 'floor'"):
        Allocation.create("uniform", floor=0.1)
