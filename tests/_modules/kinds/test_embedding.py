"""An embedding is the transpose of a matrix from one-hot ids."""

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._modules.kinds.embedding import Embedding
from hf_compress._modules.matrix import weight_matrix


def test_by_hand():
    stored = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # 3 ids, vectors of 2
    assert Embedding().matrix(stored).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


def test_it_multiplies_no_inputs_so_there_is_nothing_to_prune_by_them():
    with pytest.raises(CompressionError, match=r"Embedding has no \(out, in\) weight matrix"):
        weight_matrix(nn.Embedding(3, 2))
