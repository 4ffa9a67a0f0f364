"""What every metric promises; a new one is tested without editing a list.

Examples are those of the kinds of predictions that a metric says it takes.
"""

import dataclasses
import math
import random
import socket

import numpy
import pytest

from hf_compress._errors import CompressionError
from hf_compress._registry import dump
from hf_compress.recipe.build import build
from hf_compress.tasks.metrics.builtin.hub import Hub
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.predictions import EXAMPLES, features_of

OWN = {name: cls for name, cls in Metric.available().items() if cls is not Hub}
"""Those of the hub are other people's, and come over the network."""
METRICS = [pytest.param(cls, id=name) for name, cls in OWN.items()]
TAKEN = [pytest.param(cls, kind, id=f"{name}-{kind}") for name, cls in OWN.items() for kind in cls.takes]


def made(cls, kind):
    """With options that go with this kind of predictions."""
    return cls(average="macro") if cls.name == "f1" and kind == "label_sets" else cls()


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a metric of ours asks the network for nothing")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("cls", METRICS)
def test_a_metric_is_a_frozen_value_that_a_recipe_can_write_and_read(cls):
    assert cls.__dataclass_params__.frozen and cls.__doc__ and cls.__module__.startswith(cls._package)
    assert all(field.kw_only for field in dataclasses.fields(cls))
    for full in (False, True):
        problems = []
        assert build(Metric, dump(cls(), full), "here", problems) == cls(), problems
    assert isinstance(cls.greater_is_better, bool) and cls.takes and set(cls.takes) <= set(EXAMPLES)


@pytest.mark.parametrize(("cls", "kind"), TAKEN)
def test_it_gives_the_numbers_that_it_says_alone_and_as_a_module_of_evaluate(cls, kind, tmp_path):
    metric, example = made(cls, kind), EXAMPLES[kind]
    found = metric.compute(example.predictions, example.references)
    assert tuple(found) == metric.gives
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    module = metric.module(cache_dir=str(tmp_path))
    assert module.name == cls.name and module.features == [form for one in cls.takes for form in features_of(one)]
    assert module.compute(predictions=example.predictions, references=example.references) == pytest.approx(found)
    for prediction, reference in zip(example.predictions, example.references, strict=True):
        module.add(prediction=prediction, reference=reference)
    assert module.compute() == pytest.approx(found)


@pytest.mark.parametrize(("cls", "kind"), TAKEN)
def test_the_order_of_rows_does_not_matter_and_nothing_is_changed(cls, kind):
    metric, example = made(cls, kind), EXAMPLES[kind]
    before = repr(example)
    found = metric.compute(example.predictions, example.references)
    rows = list(zip(example.predictions, example.references, strict=True))
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        assert metric.compute(*zip(*rows, strict=True)) == pytest.approx(found)
    assert repr(example) == before


@pytest.mark.parametrize(("cls", "kind"), TAKEN)
def test_sums_of_what_rows_add_give_the_metric_of_any_resample(cls, kind):
    """Of the rows with their repetitions, as the metric itself computes it by its library."""
    metric, example = made(cls, kind), EXAMPLES[kind]
    number = len(example.predictions)
    statistics = metric.statistics(example.predictions, example.references)
    if statistics is None:
        assert metric.row_scores(example.predictions, example.references) is None
        return
    generator = numpy.random.default_rng(0)
    drawn = [numpy.arange(number), *generator.integers(number, size=(12, number))]
    sums = numpy.stack([statistics[rows].sum(0) for rows in drawn])
    fast = metric.of_sums(sums)
    assert tuple(fast) == metric.gives and statistics.dtype == numpy.float64
    for place, rows in enumerate(drawn):
        predictions, references = ([given[row] for row in rows] for given in (example.predictions, example.references))
        if kind == "spans":  # which meet by their ids
            predictions = [{**one, "id": str(at)} for at, one in enumerate(predictions)]
            references = [{**one, "id": str(at)} for at, one in enumerate(references)]
        if cls.name == "f1" and cls().average == made(cls, kind).average and 1 not in {*predictions, *references}:
            continue  # scikit-learn finds no class that the metric is about
        slow = metric.compute(predictions, references)
        assert {key: values[place] for key, values in fast.items()} == pytest.approx(slow, abs=1e-9), rows


@pytest.mark.parametrize(("cls", "kind"), TAKEN)
def test_a_right_row_has_the_best_score_of_all(cls, kind):
    metric, example = made(cls, kind), EXAMPLES[kind]
    right = example.references
    if kind == "spans":
        right = [{"id": row["id"], "prediction_text": row["answers"]["text"][0]} for row in right]
    found, best = (metric.row_scores(given, example.references) for given in (example.predictions, right))
    if found is not None:
        assert found.shape == best.shape == (len(right),)
        sign = 1 if cls.greater_is_better else -1
        assert (sign * best >= sign * found).all() and (best != found).any()


@pytest.mark.parametrize(("cls", "kind"), TAKEN)
def test_right_predictions_are_better_than_the_examples(cls, kind):
    metric, example = made(cls, kind), EXAMPLES[kind]
    right = example.references
    if kind == "spans":
        right = [{"id": row["id"], "prediction_text": row["answers"]["text"][0]} for row in right]
    found, best = (metric.compute(predictions, example.references) for predictions in (example.predictions, right))
    assert all((best[key] > found[key]) is cls.greater_is_better and best[key] != found[key] for key in metric.gives)


@pytest.mark.parametrize("cls", METRICS)
def test_no_rows_and_unequal_numbers_of_rows_are_refused(cls, tmp_path):
    metric, example = cls(), EXAMPLES[cls.takes[0]]
    for compute in (metric.compute, metric.module(cache_dir=str(tmp_path)).compute):
        with pytest.raises(CompressionError, match=f"^{cls.name} of no predictions is not defined"):
            compute(predictions=[], references=[])
        with pytest.raises(
            CompressionError, match=f"^{cls.name} .*predictions and 2 references; pass one reference for each"
        ):
            compute(predictions=example.predictions, references=example.references[:2])


@pytest.mark.parametrize("cls", METRICS)
def test_a_task_that_predicts_something_else_is_refused_with_the_metrics_that_fit(cls):
    for kind in EXAMPLES:
        if kind in cls.takes:
            made(cls, kind).check(kind, [])
            continue
        with pytest.raises(CompressionError) as refusal:
            cls().check(kind, [])
        fitting = [name for name, other in Metric.available().items() if kind in other.takes]
        assert str(refusal.value).startswith(f"{cls.name} compares ") and str(refusal.value).endswith(", ".join(fitting))


@pytest.mark.parametrize("cls", [pytest.param(cls, id=cls.name) for cls in OWN.values() if cls.packages])
def test_a_missing_package_is_refused_when_the_metric_is_made(cls, monkeypatch):
    found = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found.append(name))
    with pytest.raises(CompressionError, match=f"the metric {cls.name} needs the package {cls.packages[0]}, which is not"):
        cls()
    assert found == list(cls.packages)
