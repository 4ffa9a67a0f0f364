"""report.html of finished models that were measured: a line for every number, and what the models cost."""

from html import escape

from hf_compress.evaluation.cost.report import CostReport, size_lines, time_lines
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.evaluation_table import metric_lines, sentences
from hf_compress.evaluation.page import definitions, examples_shown, html_lines, note, page, picture_figures, verdict_box

ZEROS = "Layers are those of the last model: bits as they lie on disk, zeros as it computes, those of rounding among them."


def to_html(report: EvaluationReport) -> str:
    """The content of report.html; every text in it is escaped."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        verdict_box(report) if len(report.rows) > 1 else "",
        html_lines(metric_lines(report)),
        note(sentences(report)),
        *_costs(report),
        *picture_figures(report),
        note([ZEROS] if report.layers else []),
        *examples_shown(report),
        "<h2>Setting</h2>",
        definitions(report.setting),
    ]
    return page(report.title, parts)


def _costs(report: EvaluationReport) -> list[str]:
    """Two tables, what must be known of them, and where they were measured; nothing where that was not asked for."""
    if report.cost is None:
        return []
    found = CostReport.from_plain(report.cost)
    tables = (html_lines(size_lines(found)), html_lines(time_lines(found)))
    return ["<h2>Cost</h2>", *tables, *[note([f"{remark}."]) for remark in found.remarks], definitions(found.setting)]
