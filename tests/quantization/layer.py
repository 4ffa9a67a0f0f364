"""One prepared layer with given weights."""

import torch
from torch import nn

from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import prepare


def prepared_layer(scheme, weight):
    """A fake-quantizing Linear without bias; `weight` (O, I) as nested lists."""
    values = torch.tensor(weight)
    model = nn.Sequential(nn.Linear(values.shape[1], values.shape[0], bias=False))
    model[0].weight.data = values
    prepare(model, Quantization(scheme=scheme))
    return model[0]
