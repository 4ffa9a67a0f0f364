"""Metrics of the evaluate hub, out of the cache in which `evaluate` keeps their scripts; there is no network."""

import sys

import pytest

from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress._registry import dump
from hf_compress.recipe.recipe import Recipe
from hf_compress.tasks.metrics.builtin import hub
from hf_compress.tasks.metrics.builtin.hub import Hub
from tests.small import DROP, VIT_RECIPE, recipe, write_images

SCRIPT = """
import datasets
import evaluate


class ShareRight(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="d", citation="c", inputs_description="i", features=features)

    def _compute(self, predictions, references, scale=1.0):
        right = [found == truth for found, truth in zip(predictions, references)]
        return {"share_right": scale * sum(right) / len(right), "wrong": len(right) - sum(right), "rows": right}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """As `evaluate` leaves a metric that it fetched; the Hub cannot be reached."""
    import evaluate

    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    folder = tmp_path / "modules" / "evaluate_modules" / "metrics" / "evaluate-metric--share_right" / ("0" * 64)
    folder.mkdir(parents=True)
    (folder / "share_right.py").write_text(SCRIPT)
    for place in (*folder.parents[:4], folder):
        if place != tmp_path:
            (place / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    yield
    hub._load.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


def test_a_metric_of_the_hub_is_computed_with_its_options():
    assert Hub(metric="share_right").compute([0, 1, 1], [0, 1, 0]) == {"share_right": pytest.approx(2 / 3)}
    both = Hub(metric="share_right", keys=("wrong", "share_right"), options={"scale": 3.0})
    assert both.compute([0, 1, 1], [0, 1, 0]) == {"wrong": 1.0, "share_right": pytest.approx(2.0)}
    assert dump(both)["options"] == {"scale": 3.0}


def test_it_is_tried_on_what_the_task_predicts():
    Hub(metric="share_right").open("classes")
    with pytest.raises(CompressionError, match="share_right of the evaluate hub does not compare texts, which this task"):
        Hub(metric="share_right").open("texts")
    message = r"gives no number rows; write keys: \[...\] with some of share_right, wrong$"
    with pytest.raises(CompressionError, match=message):
        Hub(metric="share_right", keys=("rows",)).open("classes")


def test_what_is_not_there_is_refused_in_a_sentence():
    with pytest.raises(
        CompressionError, match="nowhere of the evaluate hub cannot be had: the Hub cannot be reached or has no"
    ):
        Hub(metric="nowhere").open("classes")


def test_a_script_that_fails_is_refused_in_a_sentence(tmp_path):
    (script,) = tmp_path.rglob("share_right.py")
    script.write_text("import a_package_that_nobody_has")
    with pytest.raises(
        CompressionError, match="share_right of the evaluate hub cannot be loaded: No module named 'a_package"
    ):
        Hub(metric="share_right").open("classes")


@pytest.mark.parametrize("name", ["somebody/metric", "./here", "a.b", "", "C:\\x", "metric.py"])
def test_code_of_somebody_else_is_never_named(name):
    with pytest.raises(
        CompressionError, match="is not the name of a metric that Hugging Face publishes; other metrics are code of"
    ):
        Hub(metric=name)


def test_a_folder_that_would_be_run_in_its_place_is_refused(tmp_path):
    folder = tmp_path / "evaluate-metric" / "share_right"
    folder.mkdir(parents=True)
    (folder / "share_right.py").write_text("raise AssertionError('this was run')")
    with pytest.raises(CompressionError, match="the folder evaluate-metric/share_right would be run in place of the hub's"):
        Hub(metric="share_right").open("classes")


def test_what_hf_compress_has_is_not_fetched():
    with pytest.raises(CompressionError, match="metric='accuracy': hf_compress has it, without a network; write accuracy"):
        Hub(metric="accuracy")


def test_a_recipe_asks_for_it_in_so_many_words_and_is_refused_before_training(tmp_path):
    data = {"path": str(write_images(tmp_path / "images.parquet", 20)), "validation_share": 0.3}
    named = [{"name": "hub", "metric": "share_right"}, {"name": "hub", "metric": "nowhere"}]
    asked = Recipe.from_plain(
        recipe(tmp_path, {**VIT_RECIPE, "data": data, "pruning": {}, "quantization": DROP, "evaluation.metrics": named})
    )
    (problem,) = asked.preflight()
    assert problem.path == "evaluation.metrics.1" and "nowhere of the evaluate hub cannot be had" in problem.message
    with pytest.raises(RecipeError, match="evaluation.metrics.0: unknown metric 'share_right'.*hub"):
        Recipe.from_plain(recipe(tmp_path, {**VIT_RECIPE, "data": data, "evaluation.metrics": ["share_right"]}))
