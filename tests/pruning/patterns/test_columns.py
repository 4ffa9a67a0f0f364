"""Whole inputs."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.patterns.columns import WholeColumns
from hf_compress.pruning.patterns.rows import WholeRows
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from tests.tiny import tiny_gpt2


def test_the_columns_with_the_lowest_means_go():
    score = torch.tensor([[1.0, 4.0, 0.0, 7.0], [9.0, 4.0, 3.0, 7.0]])
    assert WholeColumns().mask(score, 0.5).tolist() == [[True, False, False, True]] * 2


def test_columns_are_the_rows_of_the_transposed_matrix():
    score = torch.rand(6, 9, generator=torch.Generator().manual_seed(0))
    for sparsity in (0.0, 0.2, 0.7):
        assert torch.equal(WholeColumns().mask(score, sparsity), WholeRows().mask(score.T, sparsity).T)


def test_a_layer_that_stores_its_matrix_the_other_way_loses_inputs_all_the_same():
    model = tiny_gpt2()
    layer = model.transformer.h[0].mlp.c_fc  # (I, O)
    norms = layer.weight.detach().abs().sum(1)
    prune(model, Pruning(pattern=WholeColumns(), schedule=Constant(final=0.25), targets=["Conv1D"]))
    gone = (layer.weight == 0).all(1)
    assert set(gone.nonzero().flatten().tolist()) == set(norms.argsort()[: len(norms) // 4].tolist())


def test_a_sparsity_that_takes_every_column_of_a_layer_is_refused_by_name():
    with pytest.raises(CompressionError, match=r"0\.9 rounds to all 4 groups of the pattern columns of 0"):
        prune(nn.Sequential(nn.Linear(4, 10)), Pruning(pattern=WholeColumns(), schedule=Constant(final=0.9)))
