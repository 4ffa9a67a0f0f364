"""report.html of finished models: whole, escaped, with what was measured and nothing from outside."""

import dataclasses

import pytest

from hf_compress.evaluation.cost.report import CostReport, ModelCost, Timing
from hf_compress.evaluation.cost.rounds import Speedup
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.evaluation_page import ZEROS, to_html
from hf_compress.evaluation.rows import Example, Layer, Row
from hf_compress.evaluation.sign_test import SignTest
from hf_compress.evaluation.uncertainty import Uncertainty
from tests.evaluation.pages import Page

EVIL = "</p></svg><script>alert(1)</script><img src=x onerror='a()'> & \"quoted\" $x_1$"


def costs(name):
    model = ModelCost(
        name=name,
        storage={"file_bytes": 2_000_000, "by_kind": {}, "num_weights": 10, "bits_per_weight": 4.5},
        parameters={"total": 1234, "nonzero": 1000, "sparsity": {}, "overall_sparsity": 0.1},
        macs={},
        memory=None,
        dtype="float32",
        prepare_s={},
    )
    timing = Timing(
        model=name,
        runtime="eager",
        what="forward",
        batch=1,
        inputs={"input_ids": (1, 8)},
        first_s=None,
        median_s=0.01,
        p95_s=0.02,
        per_s=100.0,
        speedup=Speedup(median=1.25, low=0.5, high=2.0),
    )
    return CostReport(models=(model,), timings=(timing,), setting={name: name}, remarks=(f"not {name}",)).to_plain()


def report(text="plain", **changes):
    row = Row(name=text, metrics={"accuracy": 0.9, "nll": 0.25}, file_bytes=2000, answers=(text,), latency_ms=2.0)
    values = {
        "rows": (row, dataclasses.replace(row, file_bytes=500)),  # a model beside itself has its name twice
        "title": text,
        "setting": {text: text},
        "examples": (Example(input=text, expected=text),),
        "layers": (Layer(name=text, num_weights=9, bits=4.5, sparsity=0.5),),
        "directions": {"accuracy": True, "nll": False},
        "uncertainty": {
            "accuracy": Uncertainty(
                unit="rows",
                rows=20,
                intervals=((0.8, 0.95), (0.81, 0.96)),
                difference=0.0,
                difference_interval=(-0.1, 0.1),
                sign_test=SignTest(better=3, worse=1, equal=16, p_value=0.625, holm_p_value=0.75),
            )
        },
        "bootstrap": {"resamples": 1000, "level": 0.95, "seed": 0},
        "notes": (text,),
        "cost": costs(text),
    }
    return EvaluationReport(metric="accuracy", greater_is_better=True, **{**values, **changes})


@pytest.mark.parametrize("text", ["plain", EVIL])
def test_the_page_is_whole_and_loads_and_runs_nothing(text):
    page = Page(to_html(report(text)))
    assert page.fetched == [] and not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    assert (page.tags.count("table"), page.tags.count("svg"), page.tags.count("h1")) == (3, 3, 1)
    assert page.said.count(text) >= 12  # title twice, names, setting, input, expected, answers, costs


def test_it_says_every_number_with_what_is_known_of_it():
    said = " ".join(Page(to_html(report())).said)
    for part in ("0.9000 [0.8000, 0.9500]", "+0.0000 [-0.1000, +0.1000]", "3 / 1", "0.62", "p (Holm) accuracy", "0.75"):
        assert part in said
    assert "Each holds by itself: of many, 5% do not." in said and "corrected for all tests" in said
    assert "1.25x (0.50 to 2.00)" in said and "not plain." in said and ZEROS in said and "accept" in said


def test_one_model_alone_has_neither_verdict_nor_costs_that_nobody_asked_for():
    alone = report(cost=None, layers=(), examples=(), uncertainty={}, notes=(), rows=report().rows[:1])
    page = Page(to_html(dataclasses.replace(alone, rows=(dataclasses.replace(alone.rows[0], latency_ms=None),))))
    said = " ".join(page.said)
    assert (page.tags.count("table"), page.tags.count("svg")) == (1, 1)
    assert not any(word in said for word in ("Thresholds", "Cost", "Examples", "difference", ZEROS))
