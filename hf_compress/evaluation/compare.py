"""Several runs side by side: one table, and which of them no other beats at everything."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of
from hf_compress._folders import written_beside
from hf_compress.evaluation.cost.report import CostReport
from hf_compress.evaluation.ensembled import report_of
from hf_compress.evaluation.page import html_table, page, picture_figures
from hf_compress.evaluation.report import INTERVALS, columns, markdown_table
from hf_compress.evaluation.rows import Report, Row

_REPORT = "report.json"
_PLACES = (_REPORT, f"compressed/{_REPORT}")
"""Below a run's folder, or in that of its result."""
_FRONT = "on the Pareto front"
APART = "Each holds by itself, and no run is tested against another: the best of several is also the luckiest."


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs that were measured on the same rows by the same metric.

    Attributes:
        report: a row for every run's result, and for every dense model that some of them started from.
        front: for each row, whether no other is at least as good, as small and as fast, and better in one of these.
    """

    report: Report
    front: tuple[bool, ...]

    def columns(self) -> dict[str, list[str]]:
        """The table: title -> a cell for every row."""
        return {**columns(self.report), _FRONT: ["yes" if there else "-" for there in self.front]}

    def to_markdown(self) -> str:
        """The content of compare.md."""
        return f"# {self.report.title}\n\n{markdown_table(self.columns())}\n\n{self._note()}\n"

    def to_html(self) -> str:
        """The content of compare.html."""
        note = f'<p class="note">{escape(self._note())}</p>'
        parts = [f"<h1>{escape(self.report.title)}</h1>", html_table(self.columns()), note, *picture_figures(self.report)]
        return page(self.report.title, parts)

    def write(self, folder: Path) -> None:
        """compare.md and compare.html into a new folder.

        Raises:
            CompressionError: it exists.
        """
        with written_beside(folder) as part:
            (part / "compare.md").write_text(self.to_markdown(), encoding="utf-8")
            (part / "compare.html").write_text(self.to_html(), encoding="utf-8")

    def _note(self) -> str:
        timed = all(row.latency_ms is not None for row in self.report.rows)
        against = "bytes on disk and latency" if timed else "bytes on disk"
        intervals = f" {INTERVALS} {APART}" if any(row.intervals for row in self.report.rows) else ""
        metric = self.report.metric.replace("_", " ")
        return f"The Pareto front: no other row has a better {metric} at no more {against}.{intervals}"


def compare_runs(runs: Sequence[str | Path]) -> Comparison:
    """Compare the reports of runs.

    Args:
        runs: folders of runs, or of their results; two or more.

    Raises:
        CompressionError: there is no report, or two that were not measured alike.
    """
    folders = [Path(run).expanduser() for run in runs]
    if len(folders) < 2:
        raise CompressionError("compare takes two runs or more; name their folders")
    reports = [read_report(folder) for folder in folders]
    for folder, report in zip(folders[1:], reports[1:], strict=True):
        difference = _difference(reports[0], report)
        if difference:
            raise CompressionError(
                f"{folders[0]} and {folder} cannot be compared: {difference}; compare runs that were measured alike"
            )
    rows = list(
        {(row.metrics[reports[0].metric], row.file_bytes): row for report in reports for row in _dense(report)}.values()
    )
    rows += [
        dataclasses.replace(report.rows[-1], name=name)
        for name, report in zip(_names(folders, reports), reports, strict=True)
    ]
    title = "comparison of " + ", ".join(dict.fromkeys(report.title for report in reports))
    also = {key: greater for key, greater in reports[0].also.items() if all(key in row.metrics for row in rows)}
    report = dataclasses.replace(
        reports[0],
        title=title,
        rows=tuple(rows),
        also=also,
        reach=(),
        loading="",
        history=(),
        examples=(),
        layers=(),
        marks={},
        notes=(),
    )
    return Comparison(report=report, front=pareto_front(report))


def read_report(folder: Path) -> Report:
    """The report of a run, from its folder or from that of its result.

    Raises:
        CompressionError: it is not there, or is none.
    """
    file = next((folder / place for place in _PLACES if (folder / place).is_file()), None)
    if file is None:
        raise CompressionError(f"{folder} holds no {_REPORT}; name the folder of a finished run, or of its result")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        cost = data.get("cost")
        latencies = {} if cost is None else CostReport.from_plain(cost).latencies()
        known = {item.name for item in dataclasses.fields(Report)} | {"format", "verdict"}
        # An evaluation's report says more.
        given = {key: value for key, value in data.items() if key in known or "directions" not in data}
        report = report_of(given if "error_correlation" not in data else data)
        rows = tuple(
            dataclasses.replace(row, latency_ms=latencies[row.name]) if row.name in latencies else row
            for row in report.rows
        )
        return dataclasses.replace(report, rows=rows)
    except CompressionError as error:
        raise CompressionError(f"{file}: {error}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CompressionError(f"{file} is no report of a run ({reason_of(error)}); make it anew") from error


def pareto_front(report: Report) -> tuple[bool, ...]:
    """For each row, whether no other is at least as good in everything and better in something.

    Better is: the metric, fewer bytes on disk and, where every row was timed, less latency. A metric that is no finite
    number is on no front.
    """
    points = [_costs(report, row) for row in report.rows]
    return tuple(all(map(math.isfinite, point)) and not any(_beats(other, point) for other in points) for point in points)


def _costs(report: Report, row: Row) -> tuple[float, ...]:
    """What a row has, such that less is better."""
    value = row.metrics[report.metric]
    found = [-value if report.greater_is_better else value, float(row.file_bytes)]
    if all(one.latency_ms is not None for one in report.rows):
        found.append(float(row.latency_ms))  # type: ignore[arg-type]
    return tuple(found)


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _dense(report: Report) -> list[Row]:
    return [report.rows[0]] if len(report.rows) > 1 else []


def _names(folders: Sequence[Path], reports: Sequence[Report]) -> list[str]:
    """The titles; of runs with one title the folders', too."""
    titles = [report.title for report in reports]
    return [
        title if titles.count(title) == 1 else f"{title} ({folder.resolve().parent.name}/{folder.resolve().name})"
        for title, folder in zip(titles, folders, strict=True)
    ]


def _difference(one: Report, other: Report) -> str:
    """Why two reports do not say the same of their models; empty where they do."""
    pairs: dict[str, tuple[Any, Any]] = {
        "task": (one.setting.get("task"), other.setting.get("task")),
        "metric": (one.metric, other.metric),
        "direction": (_direction(one), _direction(other)),
        "data": _data(one, other),
    }
    for what, (there, here) in pairs.items():
        if there != here:
            return f"the {what} is {there!r} there and {here!r} here"
    return ""


def _data(one: Report, other: Report) -> tuple[Any, Any]:
    """The rows by their hash, where both know it; else in words."""
    if one.measured.get("sha256") and other.measured.get("sha256"):
        return tuple(  # type: ignore[return-value]
            f"{report.measured.get('num_rows')} rows of {report.measured.get('name')} ({report.measured['sha256'][:16]})"
            if one.measured["sha256"] != other.measured["sha256"]
            else None
            for report in (one, other)
        )
    return one.setting.get("data"), other.setting.get("data")


def _direction(report: Report) -> str:
    return f"{'higher' if report.greater_is_better else 'lower'} is better"
