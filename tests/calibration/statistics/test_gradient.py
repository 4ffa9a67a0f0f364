"""The mean gradient."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.calibration.collect import collect
from hf_compress.calibration.statistics.gradient import MeanGradient
from tests.calibration.statistics.sure import Sure


def reference(gradients, weights):
    """Element by element, for the contract of all statistics: gradients (N, ...), the weights of an example sum to 1."""
    flat = gradients.reshape(len(gradients), -1)
    values = [sum(float(w) * float(g) for w, g in zip(weights, each, strict=True)) for each in flat.T]
    return torch.tensor(values).reshape(gradients.shape[1:]) / sum(weights)


def test_by_hand_signs_cancel():
    statistic, total = MeanGradient(), None
    for gradient in (4.0, -1.0, -3.0):
        total = statistic.observe(torch.tensor([gradient, 1.0]), 1.0, total)
    assert statistic.finish(total, 3).tolist() == [0.0, 1.0]


def test_labels_are_the_datas_unless_others_are_asked_for():
    """Of a classifier that is sure of class 0, an example of class 1 has a large gradient at its own label alone."""
    model, batch = Sure(), {"inputs": torch.ones(1, 1), "labels": torch.tensor([1])}
    found = {
        labels: collect(model, [batch], [MeanGradient(labels=labels)])["gradient"]["layer.weight"].abs().max().item()
        for labels in (None, "true", "sampled")
    }
    assert found[None] == found["true"] > 0.9 and found["sampled"] < 0.1
    with pytest.raises(CompressionError, match="unknown labels 'empirical'"):
        MeanGradient(labels="empirical")
