"""Runs side by side."""

import dataclasses
import itertools
import json
import random

import pytest

from hf_compress import CompressionError
from hf_compress.evaluation.compare import APART, compare_runs, pareto_front, read_report
from hf_compress.evaluation.report import INTERVALS
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.write import write
from tests.evaluation.pages import Page

MEASURED = {"name": "rows", "num_rows": 9, "sha256": "ab" * 32}
DENSE = Row(name="dense", metrics={"accuracy": 0.9}, file_bytes=1000)


def report(title="one", value=0.8, size=500, **changes):
    rows = (DENSE, Row(name="ours", metrics={"accuracy": value}, file_bytes=size))
    values = {"title": title, "metric": "accuracy", "greater_is_better": True, "rows": rows, "measured": MEASURED}
    return Report(**{**values, "setting": {"task": "t", "data": "rows"}, **changes})


def written(folder, *reports):
    for place, one in enumerate(reports):
        write(one, folder / str(place) / ("compressed" if place % 2 else ""))
    return [folder / str(place) for place in range(len(reports))]


def test_the_front_is_what_no_other_row_beats_by_brute_force():
    generator = random.Random(0)
    for timed in (False, True):
        rows = tuple(
            Row(
                name=str(n),
                metrics={"accuracy": generator.randrange(5) / 5},
                file_bytes=generator.randrange(5),
                latency_ms=float(generator.randrange(5)) if timed else None,
            )
            for n in range(40)
        )
        front = pareto_front(report(rows=rows))
        for (row, there), other in itertools.product(zip(rows, front, strict=True), rows):
            no_worse = other.metrics["accuracy"] >= row.metrics["accuracy"] and other.file_bytes <= row.file_bytes
            better = other.metrics["accuracy"] > row.metrics["accuracy"] or other.file_bytes < row.file_bytes
            if timed:
                no_worse, better = (
                    no_worse and other.latency_ms <= row.latency_ms,
                    better or other.latency_ms < row.latency_ms,
                )
            assert not (there and no_worse and better)
        assert any(front)


def test_runs_stand_side_by_side_with_the_front_marked(tmp_path):
    runs = written(tmp_path, report(), report("two", 0.7, 600), report("three", float("nan"), 10), report("one", 0.85, 700))
    found = compare_runs(runs)
    cells = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in found.to_markdown().splitlines()[4:9]}
    same = f"one ({tmp_path.name}/"
    assert cells == {"dense": "yes", f"{same}0)": "yes", "two": "-", "three": "-", f"{same}3)": "yes"}
    found.write(tmp_path / "out")
    assert (tmp_path / "out" / "compare.md").read_text() == found.to_markdown()
    page = Page((tmp_path / "out" / "compare.html").read_text())
    assert page.fetched == [] and page.tags.count("tr") == 6
    with pytest.raises(CompressionError, match="exists"):
        found.write(tmp_path / "out")


def test_what_intervals_say_of_several_runs_is_said_where_there_are_some(tmp_path):
    sure = dataclasses.replace(report().rows[1], intervals={"accuracy": (0.7, 0.9)})
    runs = written(tmp_path, report(), report(title="two", value=0.7), report(title="three", rows=(DENSE, sure)))
    assert APART not in compare_runs(runs[:2]).to_markdown()
    text = compare_runs(runs).to_markdown()
    assert "0.8000 [0.7000, 0.9000]" in text and f"{INTERVALS} {APART}" in text


OTHERS = {
    "task": (report(setting={"task": "u", "data": "rows"}), "the task is 't' there and 'u' here"),
    "metric": (
        report(metric="f1", rows=tuple(dataclasses.replace(row, metrics={"f1": 1.0}) for row in report().rows)),
        "the metric is 'accuracy' there and 'f1' here",
    ),
    "direction": (report(greater_is_better=False), "the direction is 'higher is better' there and 'lower is better' here"),
    "rows": (report(measured={**MEASURED, "sha256": "cd" * 32}), r"9 rows of rows \(abababababababab\)' there"),
    "data in words": (
        report(measured={}, setting={"task": "t", "data": "others"}),
        "the data is 'rows' there and 'others'",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_was_measured_otherwise_is_refused_in_a_sentence(case, tmp_path):
    other, sentence = OTHERS[case]
    with pytest.raises(
        CompressionError, match=f"cannot be compared: .*{sentence}.*; compare runs that were measured alike"
    ):
        compare_runs(written(tmp_path, report(), other))


def test_no_report_and_a_broken_one_are_refused(tmp_path):
    (run,) = written(tmp_path, report())
    with pytest.raises(CompressionError, match="two runs or more"):
        compare_runs([run])
    with pytest.raises(CompressionError, match=r"holds no report\.json"):
        compare_runs([run, tmp_path])
    whole = report().to_plain()
    edited = [{**whole, key: value} for key, value in (("rows", []), ("metric", "f1"), ("metric", 1), ("setting", "x"))]
    edited += [
        {**whole, "rows": [{**whole["rows"][0], key: value}]}
        for key, value in (("metrics", {"accuracy": None}), ("file_bytes", "1"), ("name", 3), ("latency_ms", "fast"))
    ]
    damaged = ("[]", "{", '{"rows": []}', '{"format": 99}', '{"rows": [1]}', "[" * 100_000)
    for text in (*damaged, *map(json.dumps, edited)):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(CompressionError, match=r"report\.json"):
            compare_runs([run, tmp_path])


def test_what_an_evaluation_timed_is_a_latency(tmp_path):
    runs = written(tmp_path, report(rows=(DENSE,)))
    passed = {"model": "dense", "runtime": "eager", "what": "forward", "batch": 1, "inputs": {"input_ids": [1, 8]}}
    timing = {**passed, "first_s": None, "median_s": 0.002, "p95_s": 0.003, "per_s": 500.0, "speedup": None}
    others = [{**timing, "batch": 8, "median_s": 0.5}, {**timing, "what": "next token", "median_s": 9.0}]
    cost = {"models": [], "timings": [timing, *others], "setting": {}, "remarks": []}
    file = runs[0] / "report.json"
    data = {**json.loads(file.read_text()), "directions": {}, "cost": cost, "notes": ["a note"]}
    file.write_text(json.dumps(data))
    assert read_report(runs[0]).rows[0].latency_ms == pytest.approx(2.0)
