"""One threshold for all layers."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.global_ import Global
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.patterns.unstructured import Unstructured


def test_the_layer_with_the_small_scores_loses_more():
    scores = {"small": torch.tensor([[0.1, 0.2, 0.3, 5.0]]), "large": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    # The four lowest of all eight are 0.1, 0.2, 0.3 and 1.
    assert Global().shares(scores, 0.5) == {"small": 0.75, "large": 0.25}


def test_the_masks_are_those_of_one_sort_over_all_layers():
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(size, 7, generator=generator) * size for name, size in {"a": 3, "b": 8, "c": 5}.items()}
    every = torch.cat([score.flatten() for score in scores.values()])
    for sparsity in (0.0, 0.1, 0.5, 0.9):
        threshold = every.sort().values[round(sparsity * every.numel())]
        shares = Global().shares(scores, sparsity)
        for name, score in scores.items():
            assert torch.equal(Unstructured().mask(score, shares[name]), score >= threshold), (name, sparsity)


@pytest.mark.slow
def test_of_ten_million_scores_with_ties_the_masks_are_those_of_one_sort():
    """A stable sort over all layers: highest first, of equal scores the earlier layer and the lower index first."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"a": (1000, 3000), "b": (500, 400), "c": (2000, 3400)}
    scores = {name: torch.randn(size, generator=generator).abs().mul(1e4).round() for name, size in sizes.items()}
    every = torch.cat([score.flatten() for score in scores.values()])
    assert every.numel() == 10**7 and len(every.unique()) < 10**5
    order = every.sort(descending=True, stable=True).indices
    for sparsity in (0.1, 0.5, 0.987):
        expected = torch.ones(10**7, dtype=torch.bool)
        expected[order[10**7 - round(sparsity * 10**7) :]] = False
        shares = Global().shares(scores, sparsity)
        for (name, score), keep in zip(scores.items(), expected.split([s.numel() for s in scores.values()]), strict=True):
            assert torch.equal(Unstructured().mask(score, shares[name]).flatten(), keep), (name, sparsity)


def test_ties_go_by_layer_order():
    scores = {"first": torch.ones(1, 4), "second": torch.ones(1, 4)}
    assert Global().shares(scores, 0.5) == {"first": 0.0, "second": 1.0}


def test_a_pattern_that_fixes_each_layers_sparsity_is_refused():
    with pytest.raises(CompressionError, match="pattern n_m fixes the sparsity of each layer, so the allocation global"):
        Pruning(pattern=NM(n=2, m=4), allocation=Global())
