"""What the published folder says about itself."""

import json

import pytest

from hf_compress import CompressionError, Recipe
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.write import write
from hf_compress.jobs.train.results import _base_model, read_report
from tests.small import DROP, VIT_RECIPE, pretrained, recipe, write_images

REPORT = Report(
    title="t",
    metric="perplexity",
    greater_is_better=False,
    setting={},
    rows=(Row(name="a", metrics={"perplexity": 2.0}, file_bytes=1),),
)


def test_a_base_model_is_never_mistaken_for_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "model").mkdir(parents=True)
    names = {"someone/model": "./someone/model", "someone/else": "someone/else", "./x": "./x"}
    for given, expected in names.items():
        assert _base_model(Recipe.from_plain(recipe(tmp_path, pretrained(given)))) == expected
    assert _base_model(Recipe.from_plain(recipe(tmp_path))) is None


def test_a_report_is_read_back_or_refused(tmp_path):
    write(REPORT, tmp_path)
    assert read_report(tmp_path) == REPORT
    (tmp_path / "report.json").unlink()
    with pytest.raises(CompressionError, match=r"report\.json cannot be read"):
        read_report(tmp_path)


def test_metrics_that_a_recipe_asks_for_are_in_evaluations_report_and_card_and_choose_the_best_model(tmp_path):
    changes = {
        **VIT_RECIPE,
        "task": "image_classification",
        "data": {"path": str(write_images(tmp_path / "images.parquet", 40)), "validation_share": 0.3},
        "dense.training": {"max_steps": 4, "learning_rate": 0.01},
        "pruning": DROP,
        "quantization.begin": "0%",
        "quantization.ignore": ["classifier", "re:.*patch_embeddings.*"],
        "evaluation": {"metrics": ["matthews_correlation", {"name": "f1", "pos_label": 0}], "untrained": False},
        "training.max_steps": 4,
        "training.eval_strategy": "steps",
        "training.eval_steps": 2,
        "training.save_steps": 2,
        "training.load_best_model_at_end": True,
        "training.metric_for_best_model": "matthews_correlation",
    }
    result = Recipe.from_plain(recipe(tmp_path, changes)).run()
    for row in result.report.rows:
        assert set(row.metrics) == {"accuracy", "macro_f1", "matthews_correlation", "f1", "nll", "num_examples"}
    assert result.report.metric == "accuracy" and result.report.also == {"matthews_correlation": True, "f1": True}
    card = (result.folder / "README.md").read_text(encoding="utf-8")
    assert "| accuracy (higher is better) | matthews_correlation (higher is better) | f1 (higher is better) |" in card
    state = json.loads((tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text())
    evaluations = [entry for entry in state["log_history"] if "eval_loss" in entry]
    assert len(evaluations) == 2 and all({"eval_accuracy", "eval_f1"} <= set(entry) for entry in evaluations)
    assert state["best_metric"] == max(entry["eval_matthews_correlation"] for entry in evaluations)
