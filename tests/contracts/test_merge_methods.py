"""What every merge method promises; a new one is tested without editing a list."""

import dataclasses

import pytest
import torch

from hf_compress._registry import dump
from hf_compress.calibration.statistic import Statistic
from hf_compress.merging import operands as operands_module
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.operands import Operands
from hf_compress.recipe.build import build
from tests.calibration.seen import statistic_like

METHODS = [pytest.param(cls, id=name) for name, cls in MergeMethod.available().items()]
LABELS = ("ada", "bob", "cyd")
SMALL = 50
"""Elements of a chunk, so that the tensors here have several."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(operands_module, "CHUNK", SMALL)


def num_members(cls):
    least, most = cls.num_members
    return max(least, min(len(LABELS), most or len(LABELS)))


def operands_for(cls, shape=(12, 11), dtype=torch.float32, seed=0, spread=0.1):
    """Members near a base, the base only where it is needed; statistics of inputs only where there are inputs."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(shape, generator=generator)
    count = num_members(cls)
    tensors = tuple((base + spread * torch.randn(shape, generator=generator)).to(dtype) for _ in range(count))
    statistics = {
        name: tuple(statistic_like(name, shape, generator) for _ in range(count))
        for name in sorted(cls.needs)
        if len(shape) == 2 or Statistic.available()[name].shape == "(O, I)"
    }
    return Operands(
        name="layer.weight",
        members=LABELS[:count],
        tensors=tensors,
        base=base.to(dtype) if cls.needs_base or count < 2 else None,
        values={"weight": tuple((1.0 + i) / sum(range(1, count + 1)) for i in range(count))},
        statistics=statistics,
        seed=seed,
    )


def merged(method, operands, reverse=False):
    survey = method.survey(operands)
    if method.whole:
        return method.merge(operands, survey)
    chunks = list(operands.chunks())
    parts = {chunk.offset: method.merge(chunk, survey) for chunk in (reversed(chunks) if reverse else chunks)}
    return torch.cat([parts[chunk.offset] for chunk in chunks]).reshape(operands.tensors[0].shape)


@pytest.mark.parametrize("cls", METHODS)
def test_a_method_is_a_frozen_value_that_a_recipe_can_write_and_read(cls):
    made = cls()
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(cls))
    assert cls.__module__ == f"{cls._package}.{cls.name}"
    for full in (False, True):
        problems = []
        assert build(MergeMethod, dump(made, full), "merge.method", problems) == made, problems


@pytest.mark.parametrize("cls", METHODS)
def test_a_method_says_what_it_does_and_where_it_comes_from(cls):
    assert cls.__doc__ and "Attributes:" in cls.__doc__ + "Attributes:" * (not dataclasses.fields(cls))
    assert all(f"    {field.name}: " in cls.__doc__ for field in dataclasses.fields(cls)), "a field without a description"
    assert cls.reference is None or (cls.reference.year > 1900 and cls.reference.link.startswith("https://"))
    assert cls.reference is None or "Source:" in cls.__doc__


@pytest.mark.parametrize("cls", METHODS)
def test_the_facts_about_a_method_hold_together(cls):
    least, most = cls.num_members
    assert least >= 1 and (most is None or most >= least)
    assert "weight" in cls.per_member
    fields = {field.name for field in dataclasses.fields(cls)}
    assert set(cls.per_member) - {"weight"} <= fields, "the caller fills missing values from the field of the same name"
    assert set(cls.neutral) <= fields and set(cls.needs) <= set(Statistic.available())


@pytest.mark.parametrize("cls", METHODS)
def test_another_seed_gives_another_result_only_where_numbers_are_drawn(cls):
    operands = operands_for(cls)
    other = merged(cls(), dataclasses.replace(operands, seed=1))
    assert torch.equal(merged(cls(), operands), other) == (not cls.draws)


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_inputs_stay_as_they_are_and_the_result_is_new_and_fp32(cls, dtype):
    operands = operands_for(cls, dtype=dtype)
    inputs = [*operands.tensors, *(value for values in operands.statistics.values() for value in values)]
    inputs += [operands.base] if operands.base is not None else []
    before = [tensor.clone() for tensor in inputs]
    result = merged(cls(), operands)
    assert result.dtype is torch.float32 and result.shape == operands.tensors[0].shape
    assert result.isfinite().all()
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(inputs, before, strict=True))
    own = method_chunk(cls, operands)
    assert own.untyped_storage().data_ptr() not in {tensor.untyped_storage().data_ptr() for tensor in inputs}


def method_chunk(cls, operands):
    """One result straight from merge()."""
    method = cls()
    part = operands if cls.whole else next(operands.chunks())
    return method.merge(part, method.survey(operands))


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (130,), (5, 26), (4, 3, 2, 5)], ids=str)
def test_any_shape_is_merged(cls, shape):
    result = merged(cls(), operands_for(cls, shape))
    assert result.shape == shape and result.isfinite().all()


@pytest.mark.parametrize("cls", METHODS)
@pytest.mark.parametrize("shape", [(0,), (0, 3)], ids=str)
def test_an_empty_tensor_is_merged(cls, shape):
    operands = operands_for(cls, shape)
    survey = cls().survey(operands)
    parts = list(operands.chunks()) or [operands]
    assert all(cls().merge(part, survey).shape == part.tensors[0].shape for part in parts)


@pytest.mark.parametrize("cls", METHODS)
def test_chunks_give_the_same_as_the_whole(cls, monkeypatch):
    if cls.whole:
        pytest.skip("is not chunked")
    operands = operands_for(cls)
    result = merged(cls(), operands)
    assert torch.equal(result, merged(cls(), operands, reverse=True))
    if cls.draws:
        pytest.skip("draws random numbers per chunk")
    monkeypatch.setattr(operands_module, "CHUNK", 2**18)
    # Sums over the whole tensor (a norm) may be added up in another order.
    torch.testing.assert_close(merged(cls(), operands), result, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("cls", METHODS)
def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads(cls, monkeypatch):
    monkeypatch.setattr(operands_module, "CHUNK", 40_000)
    operands = operands_for(cls, shape=(300, 150))  # torch splits work from 32768 elements on
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(merged(cls(), operands))
    finally:
        torch.set_num_threads(before)
    # Matrix decompositions sum in an order that depends on the threads; the engine gives each tensor one thread.
    tolerance = 1e-4 if cls.whole else 0.0
    torch.testing.assert_close(*results, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("cls", METHODS)
def test_merging_copies_of_one_model_gives_that_model(cls):
    operands = operands_for(cls)
    same = operands.tensors[0]
    operands = dataclasses.replace(
        operands, tensors=(same,) * len(operands.tensors), base=None if operands.base is None else same
    )
    # Weights sum to 1; products with them are rounded, an eigen-decomposition more than once.
    torch.testing.assert_close(merged(cls(), operands), same, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", METHODS)
def test_where_nothing_is_removed_copies_of_one_member_give_that_member(cls):
    if not cls.neutral:
        pytest.skip("removes nothing")
    operands = operands_for(cls)
    member = operands.tensors[0]
    operands = dataclasses.replace(operands, tensors=(member,) * len(operands.tensors))
    # The weights sum to 1; base + sum of rounded products.
    torch.testing.assert_close(merged(cls(**cls.neutral), operands), member, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", METHODS)
def test_the_order_of_the_members_does_not_matter(cls):
    if cls.num_members[1] is not None:
        pytest.skip("its members have roles")
    operands = operands_for(cls)

    def turned(values):
        return tuple(reversed(values))

    other = dataclasses.replace(
        operands,
        members=turned(operands.members),
        tensors=turned(operands.tensors),
        values={name: turned(values) for name, values in operands.values.items()},
        statistics={name: turned(values) for name, values in operands.statistics.items()},
    )
    # Sums in another order; iterative methods stop a little elsewhere.
    torch.testing.assert_close(merged(cls(), other), merged(cls(), operands), rtol=1e-4, atol=1e-4)
