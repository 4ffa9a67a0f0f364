"""A classifier small enough for gradients by hand."""

from types import SimpleNamespace

import torch
from torch import nn


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


def gradients_by_hand(model, inputs, labels):
    """The gradient of each example's cross-entropy, (N, O, I): (p - onehot) x^T."""
    weight = model.layer.weight.detach()
    found = []
    for x, y in zip(inputs, labels, strict=True):
        p = (weight @ x).softmax(0)
        p[y] -= 1
        found.append(p[:, None] * x[None])
    return torch.stack(found)
