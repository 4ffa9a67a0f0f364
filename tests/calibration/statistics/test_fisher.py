import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.calibration.statistics.fisher import FisherDiagonal


def reference(gradients, weights):
    """Element by element, for the contract of all statistics: gradients (N, ...), the weights of an example sum to 1."""
    flat = gradients.reshape(len(gradients), -1)
    values = [sum(float(w) * float(g) ** 2 for w, g in zip(weights, each, strict=True)) for each in flat.T]
    return torch.tensor(values).reshape(gradients.shape[1:]) / sum(weights)


def test_by_hand():
    """Two classes of probability 1/4 and 3/4 for one example, and a certain one for a second."""
    fisher, total = FisherDiagonal(), None
    for gradient, weight in ((4.0, 0.25), (2.0, 0.75), (3.0, 1.0)):
        total = fisher.observe(torch.tensor([gradient]), weight, total)
    assert fisher.finish(total, 2).tolist() == [(4.0 + 3.0 + 9.0) / 2]


def test_its_bits_are_those_of_a_fused_multiply_and_add():
    gradients = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    total, summed = None, torch.zeros(3, 5)
    for weight, gradient in zip((0.1, 0.7, 1.0, 0.3), gradients, strict=True):
        total = FisherDiagonal().observe(gradient, weight, total)
        summed.addcmul_(gradient, gradient, value=weight)
    assert torch.equal(FisherDiagonal().finish(total, 3), summed.div_(3))


def test_labels_of_nobody_are_refused():
    with pytest.raises(CompressionError, match="unknown labels 'empirical'"):
        FisherDiagonal(labels="empirical")
