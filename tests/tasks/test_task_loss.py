"""Which rows a batch has and what they add to the loss; against transformers' own heads."""

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.tasks.task_loss import task_kind, task_loss_sum, task_rows
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (tiny_llama, "shifted_tokens"),
        (tiny_gpt2, "shifted_tokens"),
        (tiny_t5, "tokens"),
        (tiny_bart, "tokens"),
        (tiny_bert, "single_label"),
        (tiny_vit, "single_label"),
        (lambda: tiny_bert(num_labels=1), "regression"),
        (lambda: tiny_bert(problem_type="regression"), "regression"),
        (lambda: tiny_bert(problem_type="multi_label_classification"), "multi_label"),
    ],
)
def test_the_kind_follows_from_head_and_config(model, kind):
    assert task_kind(model()) == kind


def test_labels_tell_what_the_config_leaves_open():
    model = tiny_bert()
    assert task_kind(model, torch.tensor([[1.0, 0.0, 1.0]])) == "multi_label"
    assert task_kind(model, torch.tensor([2])) == "single_label"
    model.config.problem_type = "single_label_classification"
    assert task_kind(model, torch.tensor([[1.0, 0.0, 1.0]])) == "single_label"


def test_an_unknown_head_is_refused_with_those_that_are_known():
    with pytest.raises(CompressionError, match="knows no task loss for BertModel; it knows models for Audio.*CausalLM"):
        task_kind(tiny_bert().bert)


def test_rows_of_tokens_are_shifted_without_a_copy_and_the_last_predicts_nothing():
    logits, labels = torch.randn(1, 4, 3), torch.tensor([[0, 1, -100, 2]])
    rows = task_rows(logits, labels, "shifted_tokens")
    assert rows.labels.tolist() == [1, -100, 2, -100] and rows.keep.tolist() == [True, False, True, False]
    assert rows.logits.data_ptr() == logits.data_ptr()
    given = task_rows(logits, labels, "shifted_tokens", shift_labels=torch.tensor([[1, 1, 1, -100]]))
    assert given.labels.tolist() == [1, 1, 1, -100]
    assert task_rows(logits, labels, "tokens").labels.tolist() == [0, 1, -100, 2]
    with pytest.raises(CompressionError, match=r"logits of shape \(1, 4, 3\) and labels of shape \(1, 3\) do not fit"):
        task_rows(logits, labels[:, :3], "tokens")


HEADS = {
    "shifted_tokens": (tiny_llama, torch.tensor([[5, 6, -100, 7, 8], [9, 3, 4, -100, -100]])),
    "single_label": (tiny_bert, torch.tensor([0, 2])),
    "regression": (lambda: tiny_bert(num_labels=1), torch.tensor([0.5, -1.0])),
    "multi_label": (
        lambda: tiny_bert(problem_type="multi_label_classification"),
        torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]),
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_sum_over_the_items_is_the_loss_of_transformers_own_head(kind):
    build, labels = HEADS[kind]
    model = build().eval()
    with torch.no_grad():
        answer = model(input_ids=torch.arange(3, 13).view(2, 5), labels=labels)
    rows = task_rows(answer.logits, labels, kind)
    total = task_loss_sum(rows.logits[rows.keep], rows.labels[rows.keep], kind)
    torch.testing.assert_close(total / rows.labels[rows.keep].numel(), answer.loss)
