"""report.html, read by a parser: whole, escaped, and without anything from outside."""

import dataclasses

import pytest

from hf_compress.evaluation.page import to_html
from hf_compress.evaluation.rows import Example, Layer, Report, Row
from hf_compress.evaluation.thresholds import Thresholds
from tests.evaluation.pages import Page

EVIL = "</p></svg><script>alert(1)</script><img src=x onerror='a()'> & \"quoted\" $x_1$"
HISTORY = tuple({"step": step, "loss": 3.0 / step, "learning_rate": 1e-3, "sparsity": step / 100} for step in (10, 20, 50))


def report(text="plain", **changes):
    rows = tuple(
        Row(name=f"{name} {text}", metrics={"accuracy": value}, file_bytes=size, answers=(text,), latency_ms=size / 100)
        for name, value, size in (("dense", 0.9, 2000), ("ours", 0.88, 500))
    )
    values = {
        "rows": rows,
        "title": text,
        "setting": {text: text},
        "reach": (text,),
        "loading": text,
        "marks": {f"begins {text}": 20},
    }
    values |= {"history": HISTORY, "examples": (Example(input=text, expected=text),)}
    values |= {"layers": tuple(Layer(name=f"{text}.{n}", num_weights=9 - n, bits=4.5, sparsity=0.5) for n in range(3))}
    return Report(metric="accuracy", greater_is_better=True, thresholds=Thresholds(), **{**values, **changes})


@pytest.mark.parametrize("text", ["plain", EVIL])
def test_the_page_is_whole_and_loads_and_runs_nothing(text):
    page = Page(to_html(report(text)))
    assert page.fetched == [] and not {"script", "img", "link", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids)), "names of one picture are not those of another"
    assert page.tags.count("svg") == 4 and page.tags.count("h1") == 1


def test_every_text_is_said_as_it_is():
    said = Page(to_html(report(EVIL))).said
    assert said.count(EVIL) >= 6  # title twice, setting, input, expected, answers
    assert any(f"dense {EVIL}" in text for text in said)


def test_the_verdict_and_its_thresholds_stand_on_top():
    text = to_html(report())
    assert text.index('class="verdict accept"') < text.index("<table") < text.index("<svg")
    assert "accuracy 0.88, dense 0.9: 2.22 % worse" in text and "at most 0.05 of the metric lost" in text


def test_what_there_are_no_numbers_for_is_not_there():
    rows = tuple(dataclasses.replace(row, latency_ms=None, answers=()) for row in report().rows)
    page = Page(to_html(report(rows=rows, history=(), layers=(), examples=(), marks={})))
    assert page.tags.count("svg") == 1 and "Examples" not in page.said


def test_the_ink_is_the_pages():
    assert "#010203" not in to_html(report()) and "currentColor" in to_html(report())
