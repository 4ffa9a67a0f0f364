"""Beginnings and ends of answers, against the losses of transformers' own heads."""

import pytest
import torch
import transformers

from hf_compress import CompressionError
from hf_compress.distillation.answers import logits_of
from hf_compress.distillation.objective import task_objective
from hf_compress.tasks.row_kind import row_kind
from hf_compress.tasks.task_loss import task_kind
from tests.tiny import tiny_reader

SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
CODERS = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
HEADS = {
    "BertForQuestionAnswering": SIZES,
    "RobertaForQuestionAnswering": {**SIZES, "max_position_embeddings": 40},
    "ElectraForQuestionAnswering": {**SIZES, "embedding_size": 32},
    "DistilBertForQuestionAnswering": {"vocab_size": 64, "dim": 32, "n_layers": 1, "n_heads": 4, "hidden_dim": 64},
    "XLNetForQuestionAnsweringSimple": {"vocab_size": 64, "d_model": 32, "n_layer": 1, "n_head": 4, "d_inner": 64},
    "FlaubertForQuestionAnsweringSimple": {"vocab_size": 64, "emb_dim": 32, "n_layers": 1, "n_heads": 4},
    "GPT2ForQuestionAnswering": {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 4},
    "LlamaForQuestionAnswering": SIZES,
    "BartForQuestionAnswering": {"vocab_size": 64, **CODERS, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64},
    "T5ForQuestionAnswering": {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4},
}
BATCH = {
    "input_ids": torch.arange(3, 27).view(3, 8),
    "start_positions": torch.tensor([1, 7, 0]),
    "end_positions": torch.tensor([4, 7, 2]),
}


def build(name):
    cls = getattr(transformers, name)
    transformers.set_seed(0)
    return cls(
        cls.config_class(**HEADS.get(name, {}), pad_token_id=0, num_labels=2, eos_token_id=2, decoder_start_token_id=0)
    ).eval()


def loss_of(model, batch):
    """(ours, the head's own)."""
    kind = task_kind(model)
    assert kind.name == "spans"
    with torch.no_grad():
        own = model(**batch)
        answer = model(**{name: value for name, value in batch.items() if name not in kind.targets})
    targets = {name: batch[name] for name in kind.targets}
    total, items = task_objective(logits_of(answer, "x"), targets, kind, batch)
    assert items == kind.num_items(batch)
    return total / items, own.loss


@pytest.mark.parametrize("name", HEADS)
def test_the_sum_over_the_rows_that_count_is_the_heads_own_loss(name):
    torch.testing.assert_close(*loss_of(build(name), BATCH))


def test_positions_outside_do_not_count_as_in_the_head():
    """9 and 8 are T or more, -3 stands for the first: the head clamps to 0 and T, and leaves T out."""
    outside = {**BATCH, "start_positions": torch.tensor([9, -3, 8]), "end_positions": torch.tensor([8, 2, 30])}
    ours, own = loss_of(build("BertForQuestionAnswering"), outside)
    torch.testing.assert_close(ours, own)
    nothing = {**BATCH, "start_positions": torch.full((3,), 8), "end_positions": torch.full((3,), 9)}
    assert row_kind("spans")().num_items(nothing) == 0


def test_padding_is_no_position_so_the_company_of_an_example_changes_nothing():
    model = tiny_reader().eval()
    lengths = [3, 8, 5]
    mask = torch.arange(8) < torch.tensor(lengths).unsqueeze(1)
    batch = {**BATCH, "attention_mask": mask.long(), "end_positions": torch.tensor([4, 7, 2])}
    together, _ = loss_of(model, batch)
    alone = []
    for row, length in enumerate(lengths):
        one = {name: value[row : row + 1] for name, value in BATCH.items()}
        kind, inputs = task_kind(model), {"input_ids": one.pop("input_ids")[:, :length]}
        with torch.no_grad():
            alone.append(task_objective(logits_of(model(**inputs), "x"), one, kind, inputs))
    assert [int(items) for _, items in alone] == [1, 2, 2]  # the first ends in what is padding here and cut off there
    torch.testing.assert_close(together, sum(total for total, _ in alone) / 5)


def test_a_position_has_no_probability_in_padding_and_padding_no_gradient():
    kind, logits = row_kind("spans")(), torch.randn(1, 2, 4, requires_grad=True)
    facts = {"attention_mask": torch.tensor([[1, 1, 1, 0]])}
    prepared = kind.prepared(logits, facts)
    assert (torch.softmax(prepared, -1)[..., 3] == 0).all()
    prepared.logsumexp(-1).sum().backward()
    assert (logits.grad[..., 3] == 0).all() and (logits.grad[..., :3] != 0).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("XLNetForQuestionAnswering", "XLNetForQuestionAnswering finds the end of an answer from its beginning, by a loss"),
        ("XLMForQuestionAnswering", "distillation takes heads that do .XLMForQuestionAnsweringSimple"),
        ("FlaubertForQuestionAnswering", "FlaubertForQuestionAnswering finds the end"),
        ("TapasForQuestionAnswering", "knows no task loss for TapasForQuestionAnswering, which takes no start_positions"),
    ],
)
def test_heads_that_answer_in_another_way_are_refused_by_name(name, words):
    cls = getattr(transformers, name)
    with torch.device("meta"):
        model = cls(cls.config_class())
    with pytest.raises(CompressionError, match=words):
        task_kind(model)
