"""How results are measured."""

import pytest

from hf_compress import Evaluation, Recipe
from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.tasks.metrics.builtin.f1 import F1, MacroF1
from hf_compress.tasks.metrics.builtin.rouge import Rouge
from hf_compress.tasks.metrics.builtin.wer import WordErrorRate
from tests.small import VIT_RECIPE, recipe


def test_a_recipe_names_metrics_with_and_without_options(tmp_path):
    asked = ["macro_f1", {"name": "f1", "average": "weighted"}]
    made = Recipe.from_plain(recipe(tmp_path, {**VIT_RECIPE, "evaluation": {"metrics": asked}}))
    assert made.evaluation.metrics == (MacroF1(), F1(average="weighted"))
    assert made.to_plain()["evaluation"] == {"metrics": asked}


def test_what_metrics_give_and_in_which_direction():
    directions = Evaluation(metrics=(Rouge(), WordErrorRate())).directions
    assert directions == {**dict.fromkeys(("rouge1", "rouge2", "rougeL", "rougeLsum"), True), "wer": False}


def test_a_metric_named_twice_is_refused():
    with pytest.raises(CompressionError, match="metrics: 'f1' is given twice, by f1 and f1; keep one of them"):
        Evaluation(metrics=(F1(), F1(average="macro")))


def test_metrics_that_do_not_exist_or_fit_are_refused_with_all_other_mistakes(tmp_path):
    wrong = {
        **VIT_RECIPE,
        "evaluation.metrics": ["acuracy", "accuracy"],
        "training.metric_for_best_model": "accuracy",
        "pruning.schedule.final": 2.0,
    }
    with pytest.raises(RecipeError) as refusal:
        Recipe.from_plain(recipe(tmp_path, wrong))
    found = {problem.path: problem.message for problem in refusal.value.problems}
    assert found["evaluation.metrics.0"].startswith("unknown metric 'acuracy'; did you mean 'accuracy'?")
    assert set(found) == {"evaluation.metrics.0", "pruning.schedule"}
    with pytest.raises(
        RecipeError, match="evaluation.metrics.0: bleu compares texts, and this task predicts classes; name"
    ):
        Recipe.from_plain(recipe(tmp_path, {**VIT_RECIPE, "evaluation.metrics": ["bleu"]}))
