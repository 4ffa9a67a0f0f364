"""What every kind of module promises about its matrix; a new one is tested without editing a list."""

import pytest
import torch

from hf_compress._modules.module_kind import ModuleKind, kind_of, multiplying_classes
from hf_compress._modules.packed import ExpertMatrix

CLASSES = [
    pytest.param(kind, cls, id=f"{name}-{cls.__name__}")
    for name, kind in ModuleKind.available().items()
    for cls in kind.classes
]


def made(cls):
    """A module of the class; all of them take two sizes, and those with a kernel one size more."""
    torch.manual_seed(0)
    if issubclass(cls, ExpertMatrix):  # shown in a module of experts that lie the other way round
        experts = torch.nn.Module()
        experts.is_transposed = True
        experts.down_proj = torch.nn.Parameter(torch.randn(3, 4, 6))
        return cls(experts, "down_proj", 1)
    try:
        return cls(4, 6)
    except TypeError:
        return cls(4, 6, 3)


@pytest.mark.parametrize(("kind", "cls"), CLASSES)
def test_the_way_back_from_a_matrix_is_exact(kind, cls):
    module = made(cls)
    found = kind_of(module)
    assert type(found) is kind
    matrix, shape = found.matrix(module.weight), module.weight.shape
    assert matrix.dim() == 2 and matrix.numel() == module.weight.numel()
    assert torch.equal(found.stored(matrix, shape), module.weight)
    rows = found.channel_rows(matrix, shape)
    assert rows.shape[1] == found.num_channels(shape)
    assert torch.equal(found.from_channel_rows(rows, shape), matrix)
    if not found.has_kernel:
        assert torch.equal(rows, matrix)


@pytest.mark.parametrize(("kind", "cls"), CLASSES)
def test_the_matrix_is_what_the_module_multiplies_with(kind, cls):
    module, found = made(cls), kind()
    matrix = found.matrix(module.weight)
    if not found.multiplies:
        expected = module(torch.tensor([2]))[0]
        inputs = torch.nn.functional.one_hot(torch.tensor(2), matrix.shape[1]).float()
    elif found.has_kernel:  # as many positions as the kernel has: one product
        inputs = torch.randn(1, *module.weight.shape[1:])
        expected = module(inputs).flatten()
    else:
        inputs = torch.randn(matrix.shape[1])
        expected = module(inputs)
    bias = getattr(module, "bias", None)
    # fp32 sums in another order.
    torch.testing.assert_close(matrix @ inputs.flatten() + (0 if bias is None else bias), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "cls"), CLASSES)
def test_a_subclass_is_of_its_class_s_kind_unless_it_has_its_own(kind, cls):
    special = type("Special", (cls,), {})
    assert type(kind_of(made(special))) is kind
    own = type("Own", (kind,), {"classes": (special,)}, name="special")
    try:
        assert type(kind_of(made(special))) is own
        assert type(kind_of(made(cls))) is kind
    finally:
        del ModuleKind._registry["special"]
    assert (cls.__name__ in multiplying_classes()) == (kind.multiplies and not kind.has_kernel)


def test_a_kind_that_is_declared_anew_is_the_one_that_counts(monkeypatch):
    monkeypatch.setattr(ModuleKind, "_registry", dict(ModuleKind.available()))
    special = type("Special", (torch.nn.Linear,), {})
    for transposed in (False, True):
        type("Anew", (ModuleKind,), {"classes": (special,), "transposed": transposed}, name="special")
        assert kind_of(special(4, 6)).transposed is transposed
