"""A classifier that is sure of its first class."""

from types import SimpleNamespace

from torch import nn


class Sure(nn.Module):
    """p = (1 - e^-9, e^-9), nearly."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2, bias=False)
        nn.init.constant_(self.layer.weight[0], 9.0)
        nn.init.constant_(self.layer.weight[1], 0.0)

    def forward(self, inputs, labels=None):
        return SimpleNamespace(logits=self.layer(inputs))
