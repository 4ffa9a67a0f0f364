"""The picture says what the rows say."""

import pytest
from matplotlib import pyplot

from hf_compress.evaluation.plot import plot
from hf_compress.evaluation.rows import Report, Row


def report(values, sizes=(2_000_000, 500_000)):
    rows = tuple(
        Row(name=f"row {index}", metrics={"macro_f1": value}, file_bytes=size)
        for index, (value, size) in enumerate(zip(values, sizes, strict=True))
    )
    return Report(title="a title", metric="macro_f1", greater_is_better=True, rows=rows, setting={})


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """drawn(report) -> the axes, which plot() itself would close."""

    def draw(given):
        monkeypatch.setattr(pyplot, "close", lambda figure: None)
        plot(given, tmp_path / "report.png")
        assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
        figure = pyplot.gcf()
        monkeypatch.undo()
        pyplot.close(figure)
        return figure.axes[0]

    return draw


def test_each_row_is_a_point_at_its_megabytes_and_value(drawn):
    axes = drawn(report([0.5, 0.25]))
    assert [tuple(points.get_offsets()[0]) for points in axes.collections] == [(2.0, 0.5), (0.5, 0.25)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["row 0", "row 1"]
    assert axes.get_ylabel() == "test macro f1 (higher is better)" and axes.get_title() == "a title"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")


def test_values_of_points_that_lie_together_are_written_around_them(drawn):
    axes = drawn(report([0.5, 0.501, 0.5, 0.9], [1_000_000] * 3 + [2_000_000]))
    assert [text.get_text() for text in axes.texts] == ["0.9", "0.5", "0.501", "0.5"]
    assert len({text.xyann for text in axes.texts[1:]}) == 3 and axes.texts[0].xyann == axes.texts[1].xyann


def test_of_two_neighbours_the_smaller_has_its_value_on_its_own_side(drawn):
    axes = drawn(report([0.5, 0.501, 0.9], [1_000_000, 1_050_000, 2_000_000]))
    sides = {text.get_text(): text.get_ha() for text in axes.texts}
    assert sides == {"0.5": "right", "0.501": "left", "0.9": "left"}


@pytest.mark.parametrize(("values", "scale"), [([1.0, 10.0], "linear"), ([1.0, 10.1], "log"), ([0.0, 50.0], "linear")])
def test_the_value_axis_is_logarithmic_over_more_than_a_factor_of_ten(values, scale, drawn):
    assert drawn(report(values)).get_yscale() == scale


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e304])
def test_a_value_that_is_no_number_to_speak_of_is_drawn_too(value, drawn):
    drawn(report([5.0, value]))


def test_figures_do_not_pile_up(tmp_path):
    before = pyplot.get_fignums()
    plot(report([0.5, 0.25]), tmp_path / "report.png")
    assert pyplot.get_fignums() == before


def test_a_report_without_the_metric_is_refused(tmp_path):
    with pytest.raises(KeyError, match="macro_f1"):
        plot(
            Report(
                title="t",
                metric="macro_f1",
                greater_is_better=True,
                setting={},
                rows=(Row(name="a", metrics={}, file_bytes=1),),
            ),
            tmp_path / "x.png",
        )
    assert not (tmp_path / "x.png").exists()
