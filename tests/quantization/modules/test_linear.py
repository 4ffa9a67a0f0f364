"""A Linear that sees quantized weights."""

import torch
from torch import nn

from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.modules.linear import FakeQuantizedLinear
from hf_compress.quantization.qat import prepare, set_enabled
from hf_compress.quantization.quantizable import make_plain


def test_by_hand_weights_and_inputs_are_seen_rounded():
    model = nn.Sequential(nn.Linear(2, 1))
    model[0].weight.data, model[0].bias.data = torch.tensor([[127.5, 0.6]]), torch.tensor([0.25])
    prepare(model, Quantization(scheme="W8A8"))
    assert type(model[0]) is FakeQuantizedLinear
    # The weight's scale is 1 and so is the token's: 127, 1 and 127, 3.
    assert model(torch.tensor([[127.5, 2.6]])).item() == 127 * 127 + 3 + 0.25
    set_enabled(model, False)
    assert model(torch.tensor([[127.5, 2.5]])).item() == 127.5 * 127.5 + 1.5 + 0.25
    make_plain(model[0])
    assert type(model[0]) is nn.Linear and not hasattr(model[0], "qat_scheme")
