import torch

from hf_compress.tasks.row_kind import row_kind
from tests.tasks.rows.heads import assert_the_heads_own
from tests.tiny import tiny_bert


def test_the_loss_is_the_heads_own():
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    assert_the_heads_own(tiny_bert(problem_type="multi_label_classification"), labels, "multi_label")


def test_every_label_is_an_item_and_a_decision():
    kind = row_kind("multi_label")()
    assert int(kind.rows(torch.zeros(2, 3), {"labels": torch.ones(2, 3)}, {}).items) == 6
    alike, looked_at = kind.agreement(torch.tensor([[1.0, -1.0, 2.0]]), torch.tensor([[3.0, 1.0, 0.5]]), 8)
    assert (float(alike), float(looked_at)) == (2, 3)
