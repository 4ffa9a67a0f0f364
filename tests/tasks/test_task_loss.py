"""Which kind of rows a head makes."""

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.tasks.task_loss import task_kind
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
    assert task_kind(model()).name == kind


def test_labels_tell_what_the_config_leaves_open():
    model = tiny_bert()
    assert task_kind(model, torch.tensor([[1.0, 0.0, 1.0]])).name == "multi_label"
    assert task_kind(model, torch.tensor([2])).name == "single_label"
    model.config.problem_type = "single_label_classification"
    assert task_kind(model, torch.tensor([[1.0, 0.0, 1.0]])).name == "single_label"


def test_an_unknown_head_is_refused_with_those_that_are_known():
    with pytest.raises(CompressionError, match="knows no task loss for BertModel; it knows models for Audio.*CausalLM"):
        task_kind(tiny_bert().bert)
