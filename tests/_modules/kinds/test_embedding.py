"""An embedding is the transpose of a matrix from one-hot ids."""

import torch
from torch import nn

from hf_compress._modules.kinds.embedding import Embedding
from hf_compress._modules.matrix import weight_matrix
from hf_compress._modules.module_kind import takes_ids


def test_by_hand():
    stored = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # 3 ids, vectors of 2
    assert Embedding().matrix(stored).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


def test_it_has_a_matrix_and_multiplies_no_inputs():
    table = nn.Embedding(3, 2)
    assert torch.equal(weight_matrix(table), table.weight.t()) and takes_ids(table)
