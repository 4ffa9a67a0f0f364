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
    names = report.members
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


def stages(report: EnsembleReport) -> dict[str, list[str]]:
    """Of a cascade, a line for each stage; empty for other ensembles."""
    if not report.stages:
        return {}
    return {
        "asked": [one["member"] for one in report.stages],
        "answers from": [least_confidence(one["threshold"], "all that reach it") for one in report.stages],
        f"cost of a row ({report.cost_unit})": [f"{one['cost']:.4g}" for one in report.stages],
        "answers, validation": [f"{one['validation']:.1%}" for one in report.stages],
        "answers, test": [f"{one['test']:.1%}" for one in report.stages],
    }


def least_confidence(threshold: float | None, last: str) -> str:
    """From which confidence a stage answers, in words where that is no confidence at all.

    Args:
        threshold: of the stage; None of the last, 2 of one that answers nothing.
        last: what is said of the last.
    """
    if threshold is None:
        return last
    return "nothing" if threshold > 1 else f"{threshold:.6g}"


def account(report: EnsembleReport) -> str:
    """What a row of a cascade costs, as a sentence; empty for other ensembles."""
    if not report.stages:
        return ""
    last, ours = report.stages[-1]["member"], report.costs[report.ours]
    return (
        f"A row pays every stage that it visits: {ours:.4g} ({report.cost_unit}) on the mean of the test rows,"
        f" {ours / report.costs[last]:.3f} of what {last} alone costs, and {report.validation_costs[report.ours]:.4g}"
        " on validation. All members are in memory."
    )


def stages_part(report: EnsembleReport) -> str:
    """`stages` and `account` as markdown; empty for other ensembles."""
    known = stages(report)
    return f"{markdown_table(known)}\n\n{account(report)}" if known else ""


def pictured(report: EnsembleReport) -> str:
    """What report.png shows, in words."""
    return f"{report.metric} against {'cost' if report.costs else 'size'}"


def to_markdown(report: EnsembleReport) -> str:
    """The content of report.md; refers to report.png beside it."""
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    alike = pairs_part(report)
    parts = [
        f"# {report.title}",
        findings(report),
        f"![{pictured(report)}](report.png)",
        *([f"## Cascade\n\n{stages_part(report)}"] if report.stages else []),
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
        *(["<h2>Cascade</h2>", html_table(stages(report)), note([account(report)])] if report.stages else []),
        *(["<h2>Members</h2>", html_table(alike), note([PAIRS])] if alike else []),
        "<h2>Setting</h2>",
        definitions(report.setting),
    ]
    return page(report.title, parts)
