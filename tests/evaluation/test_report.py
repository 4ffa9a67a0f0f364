"""The report as data, as a table and as files."""

import json
from dataclasses import replace

import pytest

from hf_compress.evaluation.report import table, to_markdown
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.write import write


def report(**changes):
    rows = (
        Row(name="dense", metrics={"perplexity": 4.9012, "nll": 1.59}, file_bytes=2_100_000, train_s=12.4),
        Row(
            name="ours",
            metrics={"perplexity": 12345.6, "nll": 9.4},
            file_bytes=942_480,
            quantized_ratio=0.2578,
            sparsity=0.5,
        ),
    )
    settings = {"title": "grüße", "metric": "perplexity", "greater_is_better": False, "rows": rows, "setting": {"seed": 42}}
    return Report(**{**settings, **changes})


def test_the_table_by_hand():
    assert table(report()).splitlines() == [
        "| model | perplexity (lower is better) | size on disk | quantized layers vs bf16 | sparsity | training |",
        "| ----- | ---------------------------- | ------------ | ------------------------ | -------- | -------- |",
        "| dense | 4.901                        | 2.10 MB      | -                        | -        | 12 s     |",
        "| ours  | 1.235e+04                    | 942.48 KB    | 0.258x                   | 0.5000   | -        |",
    ]


def test_shares_of_all_weights_have_columns_and_a_sentence_where_they_are_known():
    dense, ours = report().rows
    rows = (dense, replace(ours, quantized_share=0.107, zeros_share=0.054))
    new = report(rows=rows, reach=("quantized 8 of 9 Linear, 10.7 % of the weights; left: Experts 85.5 %",))
    header, _, first, last = table(new).splitlines()
    assert header.endswith("| training | quantized, of all weights | zeros, of all weights |")
    assert first.split("|")[-3:-1] == [" -                         ", " -                     "]
    assert last.split("|")[-3:-1] == [" 10.7%                     ", " 5.4%                  "]
    assert "The last row: quantized 8 of 9 Linear, 10.7 % of the weights; left: Experts 85.5 %.\n" in to_markdown(new)
    assert Report.from_plain(json.loads(json.dumps(new.to_plain()))) == new
    old = report().to_plain()
    del old["reach"]
    for row in old["rows"]:
        del row["quantized_share"], row["zeros_share"]
    assert Report.from_plain(old) == report()


def test_metrics_that_were_asked_for_stand_beside_the_tasks_own():
    rows = tuple(
        Row(name=n, metrics={"accuracy": a, "wer": w}, file_bytes=1) for n, a, w in (("a", 0.5, 1.25), ("b", 1.0, 0))
    )
    both = report(metric="accuracy", greater_is_better=True, rows=rows, also={"wer": False})
    header, _, first, last = table(both).splitlines()
    assert header.startswith("| model | accuracy (higher is better) | wer (lower is better) | size on disk |")
    assert [[cell.strip() for cell in line.split("|")[2:4]] for line in (first, last)] == [
        ["0.5000", "1.25"],
        ["1", "0.0000"],
    ]
    assert Report.from_plain(json.loads(json.dumps(both.to_plain()))) == both


def test_shares_have_four_decimals():
    rows = tuple(Row(name=name, metrics={"accuracy": value}, file_bytes=1) for name, value in (("a", 0.86499), ("b", 1.0)))
    lines = table(report(metric="accuracy", greater_is_better=True, rows=rows)).splitlines()
    assert "accuracy (higher is better)" in lines[0]
    assert [line.split(" | ")[1].strip() for line in lines[2:]] == ["0.8650", "1"]


def test_a_report_comes_back_from_its_file(tmp_path):
    write(report(), tmp_path / "new")
    assert Report.from_plain(json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))) == report()
    names = ["report.html", "report.json", "report.md", "report.png"]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == names
    text = (tmp_path / "new" / "report.md").read_text(encoding="utf-8")
    assert text == to_markdown(report())
    assert text.startswith("# grüße\n") and table(report()) in text and "- seed: 42" in text


def test_data_that_is_no_report_is_refused():
    with pytest.raises(TypeError):
        Report.from_plain({**report().to_plain(), "more": 1})
