"""The mean size of a gradient."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.calibration.statistics.gradient_size import GradientSize


def reference(gradients, weights):
    """Element by element, for the contract of all statistics: gradients (N, ...), the weights of an example sum to 1."""
    flat = gradients.reshape(len(gradients), -1)
    values = [sum(float(w) * abs(float(g)) for w, g in zip(weights, each, strict=True)) for each in flat.T]
    return torch.tensor(values).reshape(gradients.shape[1:]) / sum(weights)


def test_by_hand_signs_do_not_cancel():
    statistic, total = GradientSize(), None
    for gradient in (4.0, -1.0, -4.0):
        total = statistic.observe(torch.tensor([gradient, 1.0]), 1.0, total)
    assert statistic.finish(total, 3).tolist() == [3.0, 1.0]


def test_labels_are_the_datas_unless_others_are_asked_for():
    assert GradientSize().labels == "true" and GradientSize(labels="sampled").labels == "sampled"
    with pytest.raises(CompressionError, match="unknown labels 'empirical'"):
        GradientSize(labels="empirical")
