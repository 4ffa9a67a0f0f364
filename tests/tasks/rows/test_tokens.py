import pytest
import torch
from transformers import BertForMaskedLM

from hf_compress import CompressionError
from hf_compress.tasks.row_kind import row_kind
from tests.tasks.rows.heads import assert_the_heads_own
from tests.tiny import tiny_bert


def test_the_loss_is_the_heads_own():
    labels = torch.tensor([[5, 6, -100, 7, 8], [9, 3, 4, -100, -100]])
    assert_the_heads_own(BertForMaskedLM(tiny_bert().config), labels, "tokens")


def test_the_label_at_a_place_belongs_to_the_logits_there():
    kind, logits, labels = row_kind("tokens")(), torch.randn(1, 4, 3), torch.tensor([[0, 1, -100, 2]])
    assert kind.rows(logits, {"labels": labels}, {}).labels.tolist() == [0, 1, -100, 2]
    with pytest.raises(CompressionError, match=r"logits of shape \(1, 4, 3\) and labels of shape \(1, 3\) do not fit"):
        kind.rows(logits, {"labels": labels[:, :3]}, {})
