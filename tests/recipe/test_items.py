"""A wrong item of a list does not hide what is wrong with the others."""

import pytest

from hf_compress import Recipe
from hf_compress._problems import RecipeError
from tests.small import recipe


def refused(tmp_path, metrics, **more):
    changes = {"task": "sequence_classification", "evaluation.metrics": metrics, **more}
    with pytest.raises(RecipeError) as refusal:
        Recipe.from_plain(recipe(tmp_path, changes))
    return [(problem.path, problem.message.partition(";")[0].partition(" (known")[0]) for problem in refusal.value.problems]


def test_metrics_that_do_not_fit_are_named_by_their_places_beside_one_that_is_not_there(tmp_path):
    assert refused(tmp_path, ["acuracy", "f1", "bleu", {"name": "rouge"}]) == [
        ("evaluation.metrics.0", "unknown metric 'acuracy'"),
        ("evaluation.metrics.2", "bleu compares texts, and this task predicts classes"),
        ("evaluation.metrics.3", "rouge compares texts, and this task predicts classes"),
    ]
    alone = refused(tmp_path, ["accuracy", "f1", "bleu"])
    assert alone[-1] == ("evaluation.metrics.2", "bleu compares texts, and this task predicts classes")


def test_what_the_missing_item_itself_brings_about_is_not_said(tmp_path):
    assert [path for path, _ in refused(tmp_path, ["acuracy"])] == ["evaluation.metrics.0"]
    assert [path for path, _ in refused(tmp_path, ["acuracy", "f1"])] == ["evaluation.metrics.0"]
    both = {"distillation.losses": [{"weight": -1}, {"weight": 0.5}]}
    assert [path for path, _ in refused(tmp_path, ["f1", "bleu"], **both)] == [
        "distillation.losses.0",
        "evaluation.metrics.1",
    ]
