import torch

from hf_compress.tasks.row_kind import row_kind
from tests.tasks.rows.heads import assert_the_heads_own
from tests.tiny import tiny_llama


def test_the_loss_is_the_heads_own():
    labels = torch.tensor([[5, 6, -100, 7, 8], [9, 3, 4, -100, -100]])
    assert_the_heads_own(tiny_llama(), labels, "shifted_tokens")


def test_rows_are_shifted_without_a_copy_and_the_last_predicts_nothing():
    kind, logits, labels = row_kind("shifted_tokens")(), torch.randn(1, 4, 3), torch.tensor([[0, 1, -100, 2]])
    rows = kind.rows(logits, {"labels": labels}, {})
    assert rows.labels.tolist() == [1, -100, 2, -100] and rows.keep.tolist() == [True, False, True, False]
    assert rows.logits.data_ptr() == logits.data_ptr() and kind.num_items({"labels": labels}) == 2
    shifted = {"labels": labels, "shift_labels": torch.tensor([[1, 1, 1, -100]])}
    assert kind.rows(logits, shifted, {}).labels.tolist() == [1, 1, 1, -100] and kind.num_items(shifted) == 3
