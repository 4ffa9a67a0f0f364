"""The lowest scores of a layer go, wherever they are."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.patterns.unstructured import Unstructured


def test_half_of_four_keeps_the_two_largest_scores():
    score = torch.tensor([[0.1, 4.0], [3.0, 0.2]])
    assert Unstructured().mask(score, 0.5).tolist() == [[False, True], [True, False]]


def test_a_whole_row_may_go():
    score = torch.tensor([[0.1, 0.2], [3.0, 4.0]])
    assert Unstructured().mask(score, 0.5).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 1 / 3, 0.5, 0.77, 0.999])
def test_the_number_of_zeros_is_the_rounded_share(sparsity):
    score = torch.rand(7, 11, generator=torch.Generator().manual_seed(0))
    assert int((~Unstructured().mask(score, sparsity)).sum()) == round(sparsity * 77)


def test_more_sparsity_only_adds_zeros():
    score = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
    low, high = Unstructured().mask(score, 0.3), Unstructured().mask(score, 0.6)
    assert not (high & ~low).any()


def test_any_sparsity_passes_its_check_and_no_argument_is_taken():
    Unstructured().check(0.123)
    with pytest.raises(CompressionError, match="unknown argument of pattern 'unstructured' 'n'"):
        Pattern.create("unstructured", n=2)
