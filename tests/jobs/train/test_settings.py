"""A train recipe as a value."""

from hf_compress import Recipe
from hf_compress.jobs.train.settings import Dense, with_defaults
from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.metrics.builtin.wer import WordErrorRate
from tests.small import VIT_RECIPE, recipe


def test_the_dense_stage_has_its_own_values_and_folder():
    given, dense = {"output_dir": "out", "seed": 1, "max_steps": 5}, Dense(training={"max_steps": 9})
    mapping = with_defaults(ImageClassification(), given)
    assert given.items() <= mapping.items()
    mapping |= dense.stage(given)
    assert (mapping["output_dir"], mapping["seed"], mapping["max_steps"]) == ("out/dense-training", 1, 9)
    assert mapping["remove_unused_columns"] is False


def test_the_trainer_is_told_of_a_metric_of_which_less_is_better():
    class Speech(ImageClassification):
        def default_metrics(self):
            return (WordErrorRate(),)

    def direction(task, *metrics, **training):
        return with_defaults(task, {"output_dir": "out", **training}, metrics).get("greater_is_better")

    assert direction(Speech(), metric_for_best_model="eval_wer") is False
    assert direction(ImageClassification(), WordErrorRate(), metric_for_best_model="wer") is False
    assert direction(Speech(), metric_for_best_model="wer", greater_is_better=True) is True
    assert direction(ImageClassification(), metric_for_best_model="accuracy") is direction(Speech()) is None


def test_the_seed_is_that_of_the_training(tmp_path):
    assert Recipe.from_plain(recipe(tmp_path)).seed == 42
    assert Recipe.from_plain(recipe(tmp_path, {"training.seed": 3})).seed == 3


def test_a_task_is_written_as_short_as_it_is(tmp_path):
    assert Recipe.from_plain(recipe(tmp_path)).to_plain()["task"] == {"name": "causal_lm", "length": 16}
    assert Recipe.from_plain(recipe(tmp_path, VIT_RECIPE)).to_plain()["task"] == "image_classification"
    full = Recipe.from_plain(recipe(tmp_path, {"task": {"name": "sequence_classification"}, "dense": {}})).to_plain(
        full=True
    )
    own = {"text": "text", "text_pair": None, "label": "label", "problem": "single_label", "classes": []}
    assert full["task"] == {"name": "sequence_classification", "length": 512, **own}
