"""What every confidence promises; a new one is tested without editing a list."""

import ast
import dataclasses
import importlib
import math
from pathlib import Path

import pytest
import torch

from hf_compress._registry import dump
from hf_compress.ensembling.confidence import Confidence
from hf_compress.recipe.build import build

CONFIDENCES = [pytest.param(cls, id=name) for name, cls in Confidence.available().items()]


def drawn(*shape, seed=0):
    return (3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_a_confidence_is_a_frozen_value_that_a_recipe_can_write_and_read(cls):
    made = cls()
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert cls.__doc__ and cls.reference is not None and cls.__module__.startswith(cls._package)
    for full in (False, True):
        problems = []
        assert build(Confidence, dump(made, full), "here", problems) == made, problems


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_a_confidence_needs_nothing_that_a_published_ensemble_does_not_bring_along(cls):
    ours = {"_errors", "_registry", "ensembling.combiner", "ensembling.confidence"}
    allowed = {"torch", "math", "dataclasses", "typing", *(f"hf_compress.{name}" for name in ours)}
    tree = ast.parse(Path(importlib.import_module(cls.__module__).__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= allowed


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_it_is_its_slow_reference_on_rows_of_any_shape(cls):
    reference = importlib.import_module(f"tests.ensembling.confidences.test_{cls.name}").reference
    rows = drawn(2, 3, 5)
    found = cls().score(rows)
    assert found.shape == (2, 3) and found.dtype is torch.float32
    expected = [[reference(row) for row in block] for block in rows.double().exp().tolist()]
    torch.testing.assert_close(found, torch.tensor(expected))


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_one_class_with_everything_is_one_and_all_alike_the_least(cls):
    sure = torch.tensor([0.0, -math.inf, -math.inf])
    alike = torch.zeros(3).log_softmax(-1)
    least = cls().score(alike)
    assert cls().score(torch.tensor([1e-6, -40.0, -40.0])) == 1  # rounding left more than everything
    assert cls().score(sure) == 1 and cls().score(torch.zeros(1)) == 1
    assert 0 <= least <= cls().score(drawn(1000, 3)).amin() + 1e-6


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_it_lies_between_zero_and_one_and_rises_as_the_distribution_sharpens(cls):
    logits = drawn(100, 5)
    scores = torch.stack([cls().score((logits * factor).log_softmax(-1)) for factor in (0.0, 0.5, 1.0, 2.0, 1e4)])
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores.diff(dim=0) >= -1e-6).all()


@pytest.mark.parametrize("cls", CONFIDENCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(cls, dtype):
    rows = drawn(7, 5).to(dtype)
    assert cls().score(rows).dtype is torch.float32
    torch.testing.assert_close(cls().score(rows), cls().score(rows.float()), rtol=0, atol=0)


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_a_number_that_is_none_shows_in_its_row_and_is_at_least_no_threshold(cls):
    rows = drawn(7, 5)
    rows[2, 1] = math.nan
    found = cls().score(rows)
    assert found.isnan().tolist() == [row == 2 for row in range(7)]
    assert not (found >= 0.0)[2]


@pytest.mark.parametrize("cls", CONFIDENCES)
def test_a_confidence_is_in_the_table_of_its_page(cls):
    page = Path(__file__).parents[2] / "docs" / "ensembles.md"
    assert f"\n| `{cls.name}` |" in page.read_text(encoding="utf-8")
