"""What every combiner promises; a new one is tested without editing a list."""

import ast
import dataclasses
import importlib
import math
from pathlib import Path

import pytest
import torch

from hf_compress._registry import dump
from hf_compress.ensembling.combiner import Combiner
from hf_compress.recipe.build import build

COMBINERS = [pytest.param(cls, id=name) for name, cls in Combiner.available().items()]
IDEMPOTENT = [pytest.param(cls, id=name) for name, cls in Combiner.available().items() if cls.idempotent]
WEIGHTS = torch.tensor([0.5, 3.0, 1.5, 2.0])


def drawn(*shape, seed=0):
    return 3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cls", COMBINERS)
def test_a_combiner_is_a_frozen_value_that_a_recipe_can_write_and_read(cls):
    made = cls()
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    assert cls.__doc__ and cls.reference is not None and cls.__module__.startswith(cls._package)
    for full in (False, True):
        problems = []
        assert build(Combiner, dump(made, full), "here", problems) == made, problems


@pytest.mark.parametrize("cls", COMBINERS)
def test_a_combiner_needs_nothing_that_a_published_ensemble_does_not_bring_along(cls):
    allowed = {"torch", "math", "dataclasses", "typing", "hf_compress._registry", "hf_compress.ensembling.combiner"}
    tree = ast.parse(Path(importlib.import_module(cls.__module__).__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= allowed


@pytest.mark.parametrize("cls", COMBINERS)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_it_is_its_slow_reference_on_rows_of_any_shape(cls, weights):
    reference = importlib.import_module(f"tests.ensembling.combiners.test_{cls.name}").reference
    logits = drawn(4, 2, 3, 5)
    found = cls().combine(logits, weights)
    assert found.shape == (2, 3, 5) and found.dtype is torch.float32
    shares = [0.25] * 4 if weights is None else (weights / weights.sum()).tolist()
    for row in range(2):
        for column in range(3):
            each = logits[:, row, column].double().softmax(-1).tolist()
            expected = torch.tensor(reference(each, shares))
            torch.testing.assert_close(found[row, column].exp(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", COMBINERS)
def test_probabilities_sum_to_one(cls):
    torch.testing.assert_close(cls().combine(drawn(4, 7, 5), WEIGHTS).exp().sum(-1), torch.ones(7))


@pytest.mark.parametrize("cls", COMBINERS)
def test_the_order_of_members_and_the_sum_of_weights_change_nothing(cls):
    logits, order = drawn(4, 7, 5), torch.tensor([2, 0, 3, 1])
    expected = cls().combine(logits, WEIGHTS)
    torch.testing.assert_close(cls().combine(logits[order], WEIGHTS[order]), expected)
    torch.testing.assert_close(cls().combine(logits, 10 * WEIGHTS), expected)
    torch.testing.assert_close(cls().combine(logits, torch.full((4,), 2)), cls().combine(logits))


@pytest.mark.parametrize("cls", COMBINERS)
def test_a_member_with_weight_zero_is_absent(cls):
    logits, weights = drawn(4, 7, 5), torch.tensor([0.5, 0.0, 1.5, 2.0])
    expected = cls().combine(logits[[0, 2, 3]], weights[[0, 2, 3]])
    torch.testing.assert_close(cls().combine(logits, weights), expected)
    logits[1, :, 2] = -math.inf
    torch.testing.assert_close(cls().combine(logits, weights), expected)


@pytest.mark.parametrize("cls", COMBINERS)
def test_rows_may_have_weights_of_their_own(cls):
    logits, weights = drawn(4, 2, 3, 5), drawn(4, 2, 3, seed=1).abs()
    found = cls().combine(logits, weights)
    for row in range(2):
        for column in range(3):
            expected = cls().combine(logits[:, row, column], weights[:, row, column])
            torch.testing.assert_close(found[row, column], expected)


@pytest.mark.parametrize("cls", IDEMPOTENT)
def test_one_member_alone_and_equal_members_give_what_that_member_says(cls):
    member = drawn(1, 7, 5)
    torch.testing.assert_close(cls().combine(member), member[0].log_softmax(-1))
    torch.testing.assert_close(cls().combine(member.expand(4, 7, 5), WEIGHTS), member[0].log_softmax(-1))


@pytest.mark.parametrize("cls", COMBINERS)
def test_members_that_agree_on_the_likeliest_class_have_their_way(cls):
    logits = drawn(4, 7, 5)
    logits[..., 3] = logits.amax(-1) + 0.1
    assert (cls().combine(logits, WEIGHTS).argmax(-1) == 3).all()


@pytest.mark.parametrize("cls", COMBINERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_anything_is_added(cls, dtype):
    logits = drawn(4, 7, 5).to(dtype)
    found = cls().combine(logits, WEIGHTS.to(dtype))
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, cls().combine(logits.float(), WEIGHTS), rtol=0, atol=0)
    assert cls().combine(logits.double()).dtype is torch.float64


@pytest.mark.parametrize("cls", COMBINERS)
def test_large_logits_stay_finite_and_so_do_their_gradients(cls):
    logits = 1e4 * torch.eye(3).repeat(1, 2).reshape(3, 2, 3)  # every member is sure of another class
    logits.requires_grad_(True)
    found = cls().combine(logits)
    assert found.isfinite().all()
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2))
    found[..., 0].sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("cls", COMBINERS)
def test_gradients_of_the_weights_are_finite_where_they_move_the_result_smoothly(cls):
    weights = WEIGHTS.double().requires_grad_(True)
    found = cls().combine(drawn(4, 7, 5).double(), weights)
    if not found.requires_grad:  # the result moves in jumps
        return
    found[..., 0].sum().backward()
    for member in range(4):
        step = 1e-6 * (torch.arange(4) == member)
        ahead, behind = (
            cls().combine(drawn(4, 7, 5).double(), WEIGHTS.double() + way * step)[..., 0].sum() for way in (1, -1)
        )
        torch.testing.assert_close(weights.grad[member], (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cls", COMBINERS)
@pytest.mark.parametrize("member", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_none_shows_in_its_row_and_in_no_other(cls, member, value):
    logits = drawn(4, 7, 5)
    expected = cls().combine(logits, WEIGHTS)
    logits[member, 2, 1] = value
    for weights in (None, WEIGHTS, WEIGHTS * (torch.arange(4) != member)):
        assert cls().combine(logits, weights)[2].isnan().all()
    others = torch.arange(7) != 2
    torch.testing.assert_close(cls().combine(logits, WEIGHTS)[others], expected[others], rtol=0, atol=0)


class Combined(torch.nn.Module):
    def __init__(self, combiner):
        super().__init__()
        self.combiner = combiner
        self.register_buffer("weights", WEIGHTS)

    def forward(self, logits):
        return self.combiner.combine(logits, self.weights)


@pytest.mark.parametrize("cls", COMBINERS)
def test_it_is_exported_as_one_graph_for_any_number_of_rows(cls):
    rows = {"logits": {1: torch.export.Dim("rows")}}
    program = torch.export.export(Combined(cls()), (drawn(4, 7, 5),), dynamic_shapes=rows).module()
    torch.testing.assert_close(program(drawn(4, 3, 5)), cls().combine(drawn(4, 3, 5), WEIGHTS))


@pytest.mark.parametrize("cls", COMBINERS)
def test_weights_that_mean_nothing_show_as_nan(cls):
    for weights in ([1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, math.nan, 1.0, 1.0]):
        assert cls().combine(drawn(4, 7, 5), torch.tensor(weights)).isnan().all()


@pytest.mark.parametrize("cls", COMBINERS)
@pytest.mark.parametrize("shape", [(1,), (3,), (4, 1), (4, 5)])
def test_weights_of_another_shape_are_refused(cls, shape):
    with pytest.raises(ValueError, match=r"for 4 members; their shape must be \(4,\) or \(4, 7\)"):
        cls().combine(drawn(4, 7, 5), torch.ones(shape))


@pytest.mark.parametrize("cls", COMBINERS)
def test_a_combiner_is_in_the_table_of_its_page(cls):
    page = Path(__file__).parents[2] / "docs" / "ensembles.md"
    assert f"\n| `{cls.name}` |" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mean_probabilities", "mean_logits"])
def test_the_log_loss_of_a_mean_is_on_no_row_above_the_mean_log_loss(name):
    logits = drawn(4, 50, 5)
    shares = (WEIGHTS / WEIGHTS.sum()).reshape(4, 1, 1)
    assert (Combiner.create(name).combine(logits, WEIGHTS) >= (shares * logits.log_softmax(-1)).sum(0) - 1e-6).all()
