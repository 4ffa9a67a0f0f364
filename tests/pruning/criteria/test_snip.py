"""|w * g| of all examples together."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress.pruning.compute import compute_masks
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.snip import SNIP
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.statistics import statistics_for


def tiny():
    """Two classes, two inputs, and examples whose gradients pull in different directions."""
    model = Logits(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model.layer.weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 3.0]]))
    inputs, labels = torch.tensor([[1.0, 0.0], [-1.0, 2.0], [0.5, 0.5]]), torch.tensor([0, 1, 0])
    return model, inputs, labels


class Logits(nn.Module):
    """What collect asks of a model: logits of a batch."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs, labels=None):
        return SimpleNamespace(logits=self.layer(inputs))


def by_hand(model, inputs, labels):
    """The gradient of each example's cross-entropy, (N, O, I): (p - onehot) x^T."""
    weight = model.layer.weight.detach()
    found = []
    for x, y in zip(inputs, labels, strict=True):
        p = (weight @ x).softmax(0)
        p[y] -= 1
        found.append(p[:, None] * x[None])
    return torch.stack(found)


def test_the_score_is_that_of_gradients_by_hand():
    model, inputs, labels = tiny()
    job = Pruning(criterion=SNIP(), schedule=Constant(final=0.5))
    modules = {"layer": model.layer}
    stats = statistics_for(model, modules, job, [{"inputs": inputs, "labels": labels}])
    weight, gradients = model.layer.weight.detach(), by_hand(model, inputs, labels)
    expected = (weight * gradients.mean(0)).abs()
    torch.testing.assert_close(SNIP().score(weight, stats["layer"]), expected)
    keep = compute_masks(modules, job, 0.5, stats)["layer"]
    assert torch.equal(keep, expected >= expected.flatten().sort().values[2])


def test_it_is_the_derivative_with_respect_to_the_mask():
    """The definition: c multiplies the weights, at c = 1."""
    model, inputs, labels = tiny()
    weight, mask = model.layer.weight.detach(), torch.ones(2, 2, requires_grad=True)
    nn.functional.cross_entropy(inputs @ (mask * weight).T, labels).backward()
    modules = {"layer": model.layer}
    stats = statistics_for(model, modules, Pruning(criterion=SNIP()), [{"inputs": inputs, "labels": labels}])
    torch.testing.assert_close(SNIP().score(weight, stats["layer"]), mask.grad.abs())


def test_without_examples_it_is_refused_before_anything_is_pruned():
    model, _, _ = tiny()
    with pytest.raises(CompressionError, match="criterion 'snip' needs gradient, measured on examples; give prune"):
        prune(model, Pruning(criterion=SNIP(), schedule=Constant(final=0.5)))
    assert (model.layer.weight != 0).all()
