"""What every merge method promises; a new one is tested without editing a list."""

import dataclasses

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands

ELEMENTWISE = {name: cls for name, cls in MergeMethod.available().items() if not cls.whole and not cls.needs}


def operands(cls, dtype=torch.float32, shape=(6, 7)):
    least, most = cls.num_members
    count = max(least, min(3, most or 3))
    draw = torch.Generator().manual_seed(0)
    tensors = tuple((torch.randn(shape, generator=draw) + 0.3).to(dtype) for _ in range(count))
    base = torch.randn(shape, generator=draw).to(dtype) if cls.needs_base else None
    values = {}
    for key in cls.per_member:
        default = {field.name: field.default for field in dataclasses.fields(cls)}.get(key, 1.0)
        values[key] = (default,) * count
    labels = tuple(f"m{number}" for number in range(count))
    return Operands(name="layer.weight", members=labels, tensors=tensors, base=base, values=values)


def merge(method, whole):
    survey = method.survey(whole)
    return torch.cat([method.merge(part, survey) for part in whole.chunks()]).view(whole.tensors[0].shape)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_method_returns_new_finite_fp32_tensors_and_repeats_itself(name, dtype):
    cls = ELEMENTWISE[name]
    whole = operands(cls, dtype)
    before = [tensor.clone() for tensor in whole.tensors]
    result = merge(cls(), whole)
    assert result.dtype is torch.float32 and result.isfinite().all()
    assert torch.equal(result, merge(cls(), whole))
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(whole.tensors, before, strict=True))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1)])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_method_takes_scalars_and_empty_tensors(name, shape):
    cls = ELEMENTWISE[name]
    whole = dataclasses.replace(operands(cls, shape=shape), num_elements=0)
    survey = cls().survey(whole)
    for part in whole.chunks():
        assert cls().merge(part, survey).shape == part.tensors[0].shape


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_nan_and_infinity_are_left_to_the_caller_to_report(name, poison):
    cls = ELEMENTWISE[name]
    whole = operands(cls)
    whole.tensors[0][2, 3] = poison
    try:
        result = merge(cls(), whole)
    except CompressionError as error:  # a method that looks at every value anyway says so itself
        assert "NaN" in str(error) and cls.propagates
        return
    if cls.propagates:
        assert not result.isfinite().all()
