"""Perplexity against a plain loop in fp64."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.evaluation.kept import Kept
from hf_compress.tasks.metrics.perplexity import Likelihood, perplexity
from tests.tiny import VOCAB, tiny_llama


class Fixed(nn.Module):
    """The same logits for every token."""

    def __init__(self, logits):
        super().__init__()
        self.row = nn.Parameter(torch.tensor(logits))

    def forward(self, input_ids):
        assert not self.training
        return SimpleNamespace(logits=self.row.expand(*input_ids.shape, -1))


def ragged(num_batches=3, rows=4, length=10):
    """Batches in which -100 stands at the end, in the middle and over a whole row."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(num_batches):
        ids = torch.randint(3, VOCAB, (rows, length), generator=generator)
        labels = ids.clone()
        for row, end in enumerate(torch.randint(1, length, (rows,), generator=generator).tolist()):
            labels[row, end:] = -100
        labels[0, 2:4] = -100
        labels[1] = -100
        batches.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels})
    return batches


def reference(model, batches):
    """Token by token, in fp64: label t + 1 under the distribution at t."""
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            logits = model(input_ids=batch["input_ids"]).logits.double()
            for row in range(logits.shape[0]):
                for position in range(logits.shape[1] - 1):
                    label = int(batch["labels"][row, position + 1])
                    if label != -100:
                        total -= torch.log_softmax(logits[row, position], 0)[label].item()
                        count += 1
    return total / count, count


def test_two_tokens_by_hand():
    # softmax of (log 3, 0) is (3/4, 1/4): predicting 0 and then 1 costs -log(3/4) - log(1/4).
    batch = {"input_ids": torch.tensor([[0, 0, 1]]), "labels": torch.tensor([[0, 0, 1]])}
    measured = perplexity(Fixed([math.log(3), 0.0]), [batch])
    assert measured["num_tokens"] == 2
    assert measured["nll"] == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, abs=1e-6)
    assert measured["perplexity"] == pytest.approx(4 / math.sqrt(3), rel=1e-6)


def test_it_is_that_of_a_loop_over_tokens_in_double_precision():
    model, batches = tiny_llama().train(), ragged()
    nll, count = reference(tiny_llama().eval(), batches)
    measured = perplexity(model, batches)
    assert measured["num_tokens"] == count
    # fp32 logits against the same logits summed in fp64.
    assert measured["nll"] == pytest.approx(nll, rel=1e-6)
    assert measured["perplexity"] == pytest.approx(math.exp(nll), rel=1e-5)


def test_the_split_into_batches_does_not_matter():
    batches = ragged()
    single = [{key: value[row : row + 1] for key, value in batch.items()} for batch in batches for row in range(4)]
    together, alone = perplexity(tiny_llama(), batches), perplexity(tiny_llama(), single)
    assert together["num_tokens"] == alone["num_tokens"]
    assert together["nll"] == pytest.approx(alone["nll"], rel=1e-6)


def test_a_hopeless_model_has_a_finite_perplexity():
    batch = {"input_ids": torch.tensor([[1, 1]]), "labels": torch.tensor([[1, 1]])}
    measured = perplexity(Fixed([5000.0, 0.0]), [batch])
    assert measured["nll"] == 5000 and math.isfinite(measured["perplexity"])


@pytest.mark.parametrize("batches", [[], [{"input_ids": torch.ones(2, 1).long(), "labels": torch.ones(2, 1).long()}]])
def test_a_split_that_predicts_nothing_is_refused(batches):
    with pytest.raises(CompressionError, match="predicts no token; it is empty or shorter than two tokens"):
        perplexity(Fixed([0.0, 0.0]), batches)


def test_batches_without_labels_are_refused_by_what_they_have():
    with pytest.raises(CompressionError, match=r"no labels \(input_ids\); give the examples a column 'labels'"):
        perplexity(nn.Linear(2, 2), [{"input_ids": torch.ones(1, 2, dtype=torch.long)}])


def test_metrics_are_told_of_every_sequence_that_has_a_token():
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, 2, 3], [1, -100, -100, -100], [2, 4, -100, -100]])  # the second predicts nothing
    likelihood, kept = Likelihood(), Kept()
    likelihood.add(logits[:2], labels[:2])
    likelihood.add(logits[2:], labels[2:])
    likelihood.tell([kept])
    log = logits.double().log_softmax(-1)
    first = -sum(log[0, place, labels[0, place + 1]].item() for place in range(3))
    assert kept.predictions == pytest.approx([first, -log[2, 0, 4].item()], rel=1e-6) and kept.references == [3, 1]
    assert likelihood.total == pytest.approx(sum(kept.predictions)) and likelihood.num_tokens == 4
