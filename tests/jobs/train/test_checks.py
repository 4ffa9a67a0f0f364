"""Checks between sections run where the sections they need are right."""

import pytest

from hf_compress import Distillation, Pruning, Quantization
from hf_compress.evaluation.configuration import Evaluation
from hf_compress.export.configuration import Export
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.jobs.train.checks import CHECKS
from hf_compress.jobs.train.settings import Dense
from hf_compress.recipe.checks import find_problems
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.bleu import Bleu
from tests.pruning.needy import Needy

FRESH = FreshModel(config={"model_type": "llama"})
RIGHT = {
    "title": None,
    "model": FRESH,
    "tokenizer": "a/tokenizer",
    "task": CausalLM(),
    "data": Data(path="here"),
    "dense": Dense(),
    "pruning": Pruning(),
    "quantization": Quantization(),
    "distillation": None,
    "calibration": None,
    "training": {"output_dir": "out", "max_steps": 100},
    "evaluation": Evaluation(),
    "export": Export(),
}
MISTAKES = {
    "dense": ({"dense": None}, {"model", "dense"}),
    "tokenizer": ({"tokenizer": None}, {"model", "tokenizer", "task"}),
    "export.format": ({"export": Export(format="dense")}, {"export", "quantization"}),
    "training.metric_for_best_model": (
        {"training": {"output_dir": "out", "max_steps": 100, "metric_for_best_model": "f1"}},
        {"training", "task", "evaluation"},
    ),
    "evaluation.metrics.1": (
        {"task": ImageClassification(), "tokenizer": None, "evaluation": Evaluation(metrics=(Accuracy(), Bleu()))},
        {"task", "evaluation"},
    ),
    "training.output_dir": ({"training": {}}, {"training"}),
    "pruning.criterion": ({"pruning": Pruning(criterion=Needy())}, {"pruning", "calibration"}),
    "quantization.begin": ({"quantization": Quantization(begin=100)}, {"quantization", "training"}),
    "dense.training.metric_for_best_model": (
        {"dense": Dense(training={"metric_for_best_model": "f1"})},
        {"dense", "task", "evaluation"},
    ),
    "": (dict.fromkeys(("pruning", "quantization", "distillation")), {"pruning", "quantization", "distillation"}),
}


def paths(parts):
    return [problem.path for problem in find_problems(CHECKS, parts)]


def test_right_sections_and_none_have_no_problems():
    assert paths(RIGHT) == paths({}) == paths({**RIGHT, "distillation": Distillation()}) == []


@pytest.mark.parametrize("path", MISTAKES)
def test_a_mistake_is_found_exactly_where_the_sections_it_needs_are_known(path):
    changes, needed = MISTAKES[path]
    wrong = {**RIGHT, **changes}
    assert paths(wrong) == [path]
    for unknown in RIGHT:
        known = {name: value for name, value in wrong.items() if name != unknown}
        assert paths(known) == ([] if unknown in needed else [path]), unknown
