import torch

from hf_compress.tasks.row_kind import row_kind
from tests.tasks.rows.heads import assert_the_heads_own
from tests.tiny import tiny_bert


def test_the_loss_is_the_heads_own():
    assert_the_heads_own(tiny_bert(num_labels=1), torch.tensor([0.5, -1.0]), "regression")


def test_squares_add_up_and_nobody_agrees_on_numbers():
    kind = row_kind("regression")()
    assert float(kind.loss_sum(torch.tensor([[1.0], [4.0]]), torch.tensor([[0.0], [2.0]]))) == 5
    assert [float(one) for one in kind.agreement(torch.ones(2, 1), torch.ones(2, 1), 1)] == [0, 0]
