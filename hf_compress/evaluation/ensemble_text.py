"""The report of an ensemble as text: report.md and report.html."""

from html import escape

from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.page import definitions, html_table, note, page, picture_figures, verdict_box
from hf_compress.evaluation.report import INTERVALS, columns, findings, markdown_table


def sentences(report: EnsembleReport) -> list[str]:
    """What the table does not say."""
    intervals = [INTERVALS] if any(row.intervals for row in report.rows) else []
    return [*intervals, *report.notes]


def pairs(report: EnsembleReport) -> dict[str, list[str]]:
    """How alike the members are, a line for each pair; empty where that was not looked at."""
    names = [row.name for row in report.rows[:-1]]
    found: dict[str, list[str]] = {"members": [], "disagreement": [], "correlation of errors": []}
    for one, line in enumerate(report.disagreement):
        for other in range(one):
            correlation = report.error_correlation[one][other]
            found["members"].append(f"{names[other]}, {names[one]}")
            found["disagreement"].append(f"{line[other]:.4f}")
            found["correlation of errors"].append("-" if correlation is None else f"{correlation:.3f}")
    return found if found["members"] else {}


def pairs_part(report: EnsembleReport) -> str:
    """`pairs` as markdown; empty where there are none."""
    known = pairs(report)
    return f"{markdown_table(known)}\n\n{PAIRS}" if known else ""


PAIRS = (
    "Disagreement is the share of test rows on which two members name different classes; the lower the correlation of their"
    " errors, the more one can make up for the other."
)


def to_markdown(report: EnsembleReport) -> str:
    """The content of report.md; refers to report.png beside it."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    alike = pairs_part(report)
    parts = [
        f"# {report.title}",
        findings(report),
        f"![{report.metric} against size](report.png)",
        *([f"## Members\n\n{alike}"] if alike else []),
        f"## Setting\n\n{setting}",
    ]
    return "\n\n".join(parts) + "\n"


def to_html(report: EnsembleReport) -> str:
    """The content of report.html; every text in it is escaped."""
    alike = pairs(report)
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        verdict_box(report),
        html_table(columns(report)),
        note(sentences(report)),
        *picture_figures(report),
        *(["<h2>Members</h2>", html_table(alike), note([PAIRS])] if alike else []),
        "<h2>Setting</h2>",
        definitions(report.setting),
    ]
    return page(report.title, parts)
