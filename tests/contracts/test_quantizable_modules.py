"""What every module that can be trained quantized promises; a new one is tested without editing a list."""

import copy

import pytest
import torch
from torch import nn

from hf_compress._modules.module_kind import kind_of
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.quantizable import FakeQuantized, Quantizable, make_plain, quantizable
from hf_compress.quantization.schemes.presets import W8A16
from tests.contracts.test_module_kinds import made

KINDS = [pytest.param(kind(), id=name) for name, kind in Quantizable.available().items()]


def stored(kind):
    """A scheme with groups that divide its matrix."""
    module = made(kind.replaces)
    width = kind_of(module).matrix(module.weight).shape[1]
    return W8A16(group_size=width // 2).to_compressed_tensors([kind.replaces.__name__])


def inputs_of(module):
    """A few rows, or images larger than the kernel."""
    torch.manual_seed(1)
    if not kind_of(module).has_kernel:
        return torch.randn(5, kind_of(module).matrix(module.weight).shape[1], requires_grad=True)
    channels, *kernel = module.weight.shape[1:]
    return torch.randn(2, channels, *(size + 3 for size in kernel), requires_grad=True)


def prepared(kind, module, enabled=True):
    module.__class__ = kind.fake
    module.qat_scheme, module.qat_enabled = stored(kind), enabled
    return module


@pytest.mark.parametrize("kind", KINDS)
def test_it_becomes_its_class_and_is_the_old_one_again(kind):
    module = made(kind.replaces)
    state, parameters = copy.deepcopy(module.state_dict()), [id(value) for value in module.parameters()]
    assert issubclass(kind.fake, FakeQuantized) and issubclass(kind.fake, kind.replaces)
    assert type(kind.fake.matrix_kind) is type(kind_of(module))
    assert type(quantizable(module)) is type(kind)
    prepared(kind, module)
    assert type(quantizable(module)) is type(kind) and type(quantizable(copy.deepcopy(module))) is type(kind)
    assert [id(value) for value in module.parameters()] == parameters
    make_plain(module)
    assert type(module) is kind.replaces and not hasattr(module, "qat_scheme")
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_switched_off_it_is_the_old_one_and_on_it_computes_with_the_rounded_matrix(kind):
    dense, rounded, module = (made(kind.replaces) for _ in range(3))
    found, args = kind_of(dense), stored(kind).weights
    matrix = fake_quantize_weight(found.matrix(dense.weight.detach()), args)
    rounded.weight.data = found.stored(matrix, dense.weight.shape).clone()
    inputs = inputs_of(dense)
    prepared(kind, module, enabled=False)
    assert torch.equal(module(inputs), dense(inputs))
    module.qat_enabled = True
    assert torch.equal(module(inputs), rounded(inputs)) and not torch.equal(rounded.weight, dense.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_at_the_rounded_point(kind):
    rounded, module = made(kind.replaces), prepared(kind, made(kind.replaces))
    rounded.weight.data = module.seen_weight().detach().clone()
    ours, theirs = inputs_of(rounded), inputs_of(rounded)
    module(ours).square().sum().backward()
    rounded(theirs).square().sum().backward()
    assert torch.equal(module.weight.grad, rounded.weight.grad) and torch.equal(ours.grad, theirs.grad)
    assert bool(module.weight.grad.any())


@pytest.mark.parametrize("kind", KINDS)
def test_a_subclass_with_a_forward_of_its_own_is_another(kind):
    own = type("Own", (kind.replaces,), {"forward": lambda self, *args: kind.replaces.forward(self, *args)})
    plain = type("Plain", (kind.replaces,), {})
    assert quantizable(made(own)) is None and type(quantizable(made(plain))) is type(kind)
    assert quantizable(nn.LayerNorm(4)) is None
