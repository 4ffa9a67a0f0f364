"""What every statistic promises; a new one is tested without editing a list.

The test of a statistic brings a slow `reference`: of rows (N, I), or of gradients (N, ...) and their weights.
"""

import dataclasses
import importlib

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress._registry import dump
from hf_compress.calibration.statistic import GradientStatistic, InputStatistic, Statistic, statistics_of
from hf_compress.merging.method import MergeMethod
from hf_compress.pruning.criterion import Criterion
from hf_compress.recipe.build import build
from tests.calibration.seen import finished, seen

STATISTICS = [pytest.param(cls, id=name) for name, cls in Statistic.available().items()]
SHAPES = {"(I,)": (6,), "(I, I)": (6, 6), "(O, I)": (4, 6)}


def reference(cls, observed):
    module = importlib.import_module(f"tests.calibration.statistics.test_{cls.__module__.rpartition('.')[2]}")
    if not cls.needs_gradient:
        return module.reference(torch.cat(observed))
    return module.reference(torch.stack([gradient for gradient, _ in observed]), [weight for _, weight in observed])


@pytest.mark.parametrize("cls", STATISTICS)
def test_a_statistic_is_a_frozen_value_that_a_recipe_can_write_and_read(cls):
    made = cls()
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(cls))
    assert cls.__doc__ and cls.__module__.startswith(cls._package)
    assert issubclass(cls, GradientStatistic if cls.needs_gradient else InputStatistic)
    for full in (False, True):
        problems = []
        assert build(Statistic, dump(made, full), "here", problems) == made, problems


@pytest.mark.parametrize("cls", STATISTICS)
def test_a_statistic_has_the_shape_it_declares_and_is_that_of_its_reference(cls):
    observed = seen(cls)
    value = finished(cls(), observed)
    assert value.dtype is torch.float32 and value.shape == SHAPES[cls.shape]
    torch.testing.assert_close(value, reference(cls, observed), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", STATISTICS)
def test_chunks_give_the_same_as_the_whole_and_nothing_that_is_observed_is_changed(cls):
    observed = seen(cls)
    before = [(one[0] if cls.needs_gradient else one).clone() for one in observed]
    value = finished(cls(), observed)
    if not cls.needs_gradient:
        torch.testing.assert_close(finished(cls(), [torch.cat(observed)]), value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(finished(cls(), observed[::-1]), value, rtol=1e-5, atol=1e-6)
    after = [one[0] if cls.needs_gradient else one for one in observed]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("cls", STATISTICS)
@pytest.mark.parametrize("cut", [1, 3])
def test_two_parts_added_up_give_the_same_as_the_whole(cls, cut):
    observed = seen(cls)
    torch.testing.assert_close(finished(cls(), observed, cut), finished(cls(), observed), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", STATISTICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_observed_in_fp32(cls, dtype):
    observed = seen(cls, dtype=dtype)
    torch.testing.assert_close(finished(cls(), observed), reference(cls, observed), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", STATISTICS)
def test_nan_reaches_the_total_so_that_it_is_found(cls):
    observed = seen(cls)
    (observed[1][0] if cls.needs_gradient else observed[1]).view(-1)[0] = torch.nan
    assert not finished(cls(), observed).isfinite().all()


@pytest.mark.parametrize("cls", [*Criterion.available().values(), *MergeMethod.available().values()])
def test_what_a_strategy_needs_is_the_name_of_a_statistic(cls):
    assert set(cls.needs) <= set(Statistic.available())


def test_needs_are_names_or_statistics_each_once():
    names = list(Statistic.available())
    assert [one.name for one in statistics_of([*names, *names])] == names
    with pytest.raises(CompressionError, match="unknown statistic 'gramm'; did you mean 'gram'"):
        statistics_of(["gramm"])
    with pytest.raises(CompressionError, match="42 is not a statistic; give its name"):
        statistics_of([42])
    several = [cls for cls in Statistic.available().values() if cls.needs_gradient]
    with pytest.raises(CompressionError, match="is named twice with different settings; keep one"):
        statistics_of([several[0](), several[0](seed=1)])
