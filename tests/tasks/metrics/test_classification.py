"""Accuracy, F1 and likelihood of a classifier."""

import math
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.classification import OWN_METRICS, classify, decode_classes
from tests.tiny import VOCAB, tiny_bert


class Echo(nn.Module):
    """Logits are the inputs."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, logits):
        assert not self.training
        return SimpleNamespace(logits=logits + self.zero)


def test_the_likeliest_class_of_every_row_with_a_label():
    logits = numpy.array([[0.0, 2.0, 1.0], [3.0, 1.0, 2.0], [0.0, 0.0, 1.0]])
    predictions, references = decode_classes(logits, numpy.array([1, -100, 0]))
    assert predictions.tolist() == [1, 2] and references.tolist() == [1, 0]
    assert [metric.name for metric in OWN_METRICS] == ["accuracy", "macro_f1"]


def test_likelihood_by_hand():
    batch = {"logits": torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), "labels": torch.tensor([0, 1])}
    measured = classify(Echo(), [batch])
    assert measured["nll"] == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, abs=1e-6)
    assert measured["accuracy"] == 0.5 and measured["num_examples"] == 2


def test_the_split_into_batches_does_not_matter():
    ids = torch.randint(3, VOCAB, (12, 8), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 3
    model = tiny_bert().train()
    measured = [
        classify(model, [{"input_ids": i, "labels": j} for i, j in zip(ids.split(size), labels.split(size), strict=True)])
        for size in (12, 5, 1)
    ]
    with torch.no_grad():
        logits = tiny_bert().eval()(input_ids=ids).logits.double()
    nll = -logits.log_softmax(-1)[torch.arange(12), labels].mean().item()
    for found in measured:
        assert found["accuracy"] == (logits.argmax(-1) == labels).double().mean().item()
        assert found["nll"] == pytest.approx(nll, rel=1e-5)
        assert found["macro_f1"] == measured[0]["macro_f1"]


def test_rows_without_a_label_are_not_counted():
    batch = {"logits": torch.tensor([[math.log(3), 0.0], [0.0, 9.0]]), "labels": torch.tensor([0, -100])}
    measured = classify(Echo(), [batch])
    assert measured["nll"] == pytest.approx(math.log(4 / 3), abs=1e-6)
    assert measured["accuracy"] == 1 and measured["num_examples"] == 1
    with pytest.raises(CompressionError, match="the evaluation split has no example with a label"):
        classify(Echo(), [{"logits": batch["logits"], "labels": torch.tensor([-100, -100])}])


def test_an_empty_split_is_refused():
    with pytest.raises(CompressionError, match="the evaluation split has no example"):
        classify(Echo(), [])
