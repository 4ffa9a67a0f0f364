"""Layers pruned one group at a time."""

import json
import math

import pytest
import torch
from torch import nn

from hf_compress import CompressionError, Magnitude, Pruning
from hf_compress.pruning.sensitivity import (
    Curve,
    Sensitivity,
    groups_of,
    measure_sensitivity,
    share_of_zeros,
    sparsity_for,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 4))


def modules_of(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def measure(model):
    """By the size of what goes missing, which is known by hand."""
    return lambda: {"loss": sum(float((one == 0).sum()) for one in model.parameters()), "accuracy": 0.5}


def test_each_layer_is_pruned_alone_and_is_then_what_it_was_to_the_last_bit(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    found = measure_sensitivity(
        modules_of(model),
        Pruning(criterion=Magnitude()),
        measure(model),
        [0.75, 0.25],
        keep=lambda *what: seen.append(what[:2]),
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert seen == [("0", 0.25), ("0", 0.75), ("1", 0.25), ("1", 0.75)]
    zeros = [[point["loss"] for point in curve.points.values()] for curve in found.curves]
    assert zeros == [[12.0, 36.0], [8.0, 24.0]] and found.dense["loss"] == 0.0 and found.loss == "loss"
    assert [curve.num_weights for curve in found.curves] == [48, 32]
    assert Sensitivity.from_plain(json.loads(json.dumps(found.to_plain()))) == found


def test_weights_come_back_where_measuring_fails(model):
    before = model[0].weight.clone()

    def fails():
        if (model[0].weight == 0).any():
            raise RuntimeError("no memory")
        return {"loss": 1.0}

    with pytest.raises(RuntimeError, match="no memory"):
        measure_sensitivity(modules_of(model), Pruning(), fails, [0.5])
    assert torch.equal(model[0].weight, before)


def test_what_is_known_is_not_measured_again(model):
    calls = []

    def counted():
        calls.append(1)
        return {"nll": 1.0}

    known = {"0": {0.5: {"nll": 3.0}}}
    found = measure_sensitivity(modules_of(model), Pruning(), counted, [0.5], dense={"nll": 1.0}, known=known)
    assert len(calls) == 1 and [curve.points[0.5]["nll"] for curve in found.curves] == [3.0, 1.0]


def test_groups_are_modules_blocks_or_kinds():
    names = ["h.0.attn.q", "h.0.mlp.up", "h.1.attn.q", "head"]
    assert groups_of(names, "module") == {name: [name] for name in names}
    assert groups_of(names, "block") == {"h.0": names[:2], "h.1": names[2:3], "head": ["head"]}
    assert groups_of(names, "name") == {"h.*.attn.q": [names[0], names[2]], "h.*.mlp.up": [names[1]], "head": ["head"]}


def curve(name, *losses):
    return Curve(name=name, sizes={name: 100}, points=dict(zip((0.4, 0.8), ({"nll": one} for one in losses), strict=True)))


def test_the_allocation_gives_zeros_to_layers_that_cost_less():
    found = Sensitivity(loss="nll", dense={"nll": 1.0}, curves=(curve("a", 1.1, 2.0), curve("b", 1.01, 1.1)))
    allocation, predicted = found.allocation(0.4)
    shares = allocation.shares_of_shapes({"a": (10, 10), "b": (10, 10)}, 0.4, 0.4)
    assert shares["b"] > 0.5 > shares["a"] and sum(shares.values()) == pytest.approx(0.8, abs=1e-3)
    assert 0 < predicted < 0.1


def test_a_loss_that_is_no_number_ends_a_curve():
    found = Sensitivity(loss="nll", dense={"nll": 1.0}, curves=(curve("a", 1.1, float("nan")), curve("b", 1.01, 1.1)))
    assert found.increases(found.curves[0]) == [(0.4, pytest.approx(0.1))]
    said = "reach an overall sparsity of 0.6, and 0.7 is asked for; the nll of a is no finite number further on; ignore it"
    with pytest.raises(CompressionError, match=said):
        found.allocation(0.7)
    plain = found.to_plain()
    assert plain["curves"][0]["points"]["0.8"]["nll"] is None and "NaN" not in json.dumps(plain)
    assert math.isnan(Sensitivity.from_plain(plain).curves[0].points[0.8]["nll"])
    low = Sensitivity(loss="nll", dense={"nll": 1.0}, curves=(curve("a", 1.1, 1.2),))
    with pytest.raises(CompressionError, match="reach an overall sparsity of 0.8, and 0.9 is asked for; add a higher one"):
        low.allocation(0.9)


def test_zeros_that_are_there_cost_nothing_and_are_not_shared_out_again():
    """By hand: of 400 weights 60 are gone; 100 more for 0.4 overall, and b costs less than a."""
    a = Curve(name="a", sizes={"a": 100}, held={"a": 0.6}, points={0.4: {"nll": 1.0}, 0.8: {"nll": 1.2}})
    b = Curve(name="b", sizes={"b0": 100, "b1": 200}, held={"b0": 0.0}, points={0.4: {"nll": 1.0}, 0.8: {"nll": 1.0}})
    found = Sensitivity(loss="nll", dense={"nll": 1.0}, curves=(a, b))
    assert found.increases(a) == [(0.8, pytest.approx(0.2))]
    shares = found.allocation(0.4)[0].sparsities
    assert shares == pytest.approx({"a": 0.6, "b0": 1 / 3, "b1": 1 / 3}, abs=1e-4)
    assert Sensitivity.from_plain(json.loads(json.dumps(found.to_plain()))) == found
    with pytest.raises(CompressionError, match="0.15 of the weights are zero already, and 0.1 is asked for; ask for more"):
        found.allocation(0.1)


def test_layers_of_one_group_that_hold_more_than_the_others_keep_that():
    sizes, held = {"a": 100, "b": 300}, {"b": 0.5}
    assert share_of_zeros(sizes, held, 0.2) == pytest.approx((20 + 150) / 400)
    assert sparsity_for(sizes, held, (20 + 150) / 400) == pytest.approx(0.2)
    assert sparsity_for(sizes, held, 0.7) == pytest.approx(0.7)
    points = {0.2: {"nll": 1.1}, 0.9: {"nll": 2.0}}
    found = Sensitivity(loss="nll", dense={"nll": 1.0}, curves=(Curve(name="g", sizes=sizes, held=held, points=points),))
    assert found.allocation(0.425)[0].sparsities == pytest.approx({"a": 0.2, "b": 0.5})


def test_what_a_layer_holds_is_measured():
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight[:, 0] = 0.0
    found = measure_sensitivity({"": layer}, Pruning(), lambda: {"nll": 1.0}, [0.5])
    assert found.curves[0].held == {"": 0.25}


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_model_whose_own_loss_is_no_number_is_refused_before_anything_is_pruned(loss, model):
    with pytest.raises(CompressionError, match="of the model as it is is (nan|inf); nothing compares with it"):
        measure_sensitivity(modules_of(model), Pruning(), lambda: {"nll": loss}, [0.5], keep=pytest.fail)


def test_a_task_without_a_loss_is_refused(model):
    with pytest.raises(CompressionError, match="compared by the mean loss, and of accuracy none is one"):
        measure_sensitivity(modules_of(model), Pruning(), lambda: {"accuracy": 1.0}, [0.5])
