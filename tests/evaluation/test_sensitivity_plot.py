"""The picture of what layers cost."""

import math

import pytest
from matplotlib import image

from hf_compress.evaluation.sensitivity_plot import _labels, plot_sensitivity
from hf_compress.pruning.sensitivity import Curve, Sensitivity


def measured(count):
    curves = tuple(
        Curve(
            name=f"model.layers.{place}.a_rather_long_name_of_a_projection",
            sizes={str(place): 9},
            points={0.5: {"nll": 1.0 + 0.01 * place}, 0.9: {"nll": math.nan if place == 1 else 2.0}},
        )
        for place in range(count)
    )
    return Sensitivity(loss="nll", dense={"nll": 1.0}, curves=curves)


@pytest.mark.parametrize(("count", "shares"), [(3, [0.5, 0.2, 0.8]), (70, None)])
def test_groups_are_drawn_and_of_many_only_the_most_costly(count, shares, tmp_path):
    plot_sensitivity(measured(count), shares, 0.5, "magnitude", tmp_path / "picture.png")
    height, width = image.imread(tmp_path / "picture.png").shape[:2]
    assert width > 400 and height < 130 * (1.4 + 0.24 * 61)


def test_names_that_differ_are_written_differently():
    names = [f"model.{side}.layers.0.self_attn.k_proj" for side in ("encoder", "decoder")]
    cut = _labels(names)
    assert len(set(cut)) == 2 and all(len(one) == 36 and "..." in one for one in cut)
    alike = [f"model.layers.{part}_and_so_on_and_so_on.self_attn.k_proj" for part in ("a", "b")]
    assert _labels(alike) == alike and _labels(["short", "$x"]) == ["short", r"\$x"]
