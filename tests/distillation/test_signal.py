import pytest
import torch

from hf_compress.distillation.signal import Layers, Signal


def test_layers_in_16_bits_are_widened_when_they_are_taken_and_others_stay():
    stored = [torch.ones(1, 2, 3, dtype=dtype) for dtype in (torch.bfloat16, torch.float32, torch.float64)]
    layers = Layers(stored)
    assert [one.dtype for one in layers] == [torch.float32, torch.float32, torch.float64]
    assert layers[1] is stored[1] and layers[-1] is stored[2]
    assert [one.dtype for one in layers[:1]] == [torch.float32] and len(layers[1:]) == 2
    assert layers.size == (1, 2) and Layers().size is None
    with pytest.raises(IndexError):
        layers[3]


def test_a_gradient_reaches_a_layer_in_16_bits():
    stored = torch.ones(1, 2, 3, dtype=torch.bfloat16, requires_grad=True)
    Layers([stored])[0].sum().backward()
    assert stored.grad.tolist() == [[[1.0] * 3] * 2]


def test_a_signal_names_what_it_has():
    layer = [torch.zeros(1, 2, 3)]
    assert Signal().has == ()
    assert Signal(logits=layer[0]).has == ("logits",)
    assert Signal(hidden_states=Layers(layer), attentions=Layers(layer)).has == ("hidden_states", "attentions")
