import torch

from hf_compress.tasks.row_kind import row_kind
from tests.tasks.rows.heads import assert_the_heads_own
from tests.tiny import tiny_bert


def test_the_loss_is_the_heads_own():
    assert_the_heads_own(tiny_bert(), torch.tensor([0, 2]), "single_label")


def test_an_example_without_a_label_does_not_count():
    rows = row_kind("single_label")().rows(torch.zeros(2, 4), {"labels": torch.tensor([3, -100])}, {})
    assert rows.keep.tolist() == [True, False] and int(rows.items) == 1
