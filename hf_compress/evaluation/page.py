"""report.html: the report as one page that needs no network, no script and no other file."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from hf_compress.evaluation.pictures import pictures
from hf_compress.evaluation.report import INTERVALS, columns, worth_of
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.verdict import judge

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Whatever a title or a text may hold, a browser loads and runs nothing."""
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1b1f24; --dim: #59636e; --line: #d5dae0; --card: #f6f8fa;
  --good: #1a7f37; --bad: #b42318; --odd: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --back: #10141a; --ink: #e6e9ed; --dim: #9aa4af; --line: #333b45;
  --card: #181e26; --good: #4ac26b; --bad: #ff8f85; --odd: #e3b341; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1100px; padding: 1rem; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.verdict { border-left: 4px solid var(--dim); background: var(--card); padding: .6rem .8rem; margin: 1rem 0; }
.verdict b { text-transform: uppercase; letter-spacing: .04em; } .verdict small { display: block; color: var(--dim); }
.accept { border-color: var(--good); } .accept b { color: var(--good); }
.regression, .infeasible { border-color: var(--bad); } .regression b, .infeasible b { color: var(--bad); }
.anomalous { border-color: var(--odd); } .anomalous b { color: var(--odd); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; overflow-wrap: normal; }
td:first-child { overflow-wrap: anywhere; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 600; } td { font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child { font-weight: 600; white-space: normal; min-width: 10rem; }
.wide { overflow-x: auto; } .wide + .wide { margin-top: 1.2rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 1rem;
  align-items: start; }
figure { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: 6px; min-width: 0; }
figure svg { display: block; width: 100%; max-width: 30rem; height: auto; margin: 0 auto; }
figcaption { color: var(--dim); margin-bottom: .4rem; }
.example { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; margin: .6rem 0; }
.example p { margin: .2rem 0; white-space: pre-wrap; }
.example span { color: var(--dim); display: block; font-size: .8rem; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .2rem 1rem; font-size: .9rem; }
dt { color: var(--dim); } dd { margin: 0; min-width: 0; }
footer, .note { color: var(--dim); font-size: .85rem; }
@media (max-width: 700px) {
  .rows thead { display: none; } .rows tr { display: block; border-bottom: 2px solid var(--line); padding: .4rem 0; }
  .rows td { display: flex; min-width: 0; white-space: normal; justify-content: space-between; gap: 1rem; border: 0;
    padding: .15rem 0; text-align: right; }
  .rows td::before { content: attr(data-name); color: var(--dim); font-weight: 400; text-align: left; }
  dl { display: block; } dd { margin-bottom: .4rem; }
}
"""


def to_html(report: Report) -> str:
    """The content of report.html; every text in it is escaped."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        verdict_box(report),
        html_table(columns(report)),
        note(_sentences(report)),
        *picture_figures(report),
        *examples_shown(report),
        "<h2>Setting</h2>",
        definitions(report.setting),
    ]
    return page(report.title, parts)


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: as text.
        parts: as HTML.
    """
    body = "\n".join(part for part in parts if part)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def html_table(columns: Mapping[str, Sequence[str]]) -> str:
    """`html_lines` of columns.

    Args:
        columns: title -> a cell for every row, as text.
    """
    return html_lines([list(columns), *zip(*columns.values(), strict=True)])


def html_lines(lines: Sequence[Sequence[str]]) -> str:
    """A table that becomes a list of rows where the window is narrow.

    Args:
        lines: cells as text; the first line is the header, in which a title may stand twice.
    """
    names, *rows = [[escape(cell) for cell in line] for line in lines]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = [
        "<tr>" + "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in zip(names, row, strict=True)) + "</tr>"
        for row in rows
    ]
    table = f'<table class="rows"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def verdict_box(report: Report) -> str:
    """The verdict, with what it went by."""
    verdict = judge(report)
    return (
        f'<div class="verdict {verdict.kind}"><b>{verdict.kind}</b> {escape(verdict.reason)}'
        f"<small>Thresholds: {escape(str(verdict.thresholds))}</small></div>"
    )


def note(sentences: Iterable[str]) -> str:
    """What stands below a table, in small; nothing where there is nothing to say."""
    said = " ".join(map(escape, sentences))
    return f'<p class="note">{said}</p>' if said else ""


def _sentences(report: Report) -> list[str]:
    sentences = [f"The last row: {sentence}." for sentence in report.reach]
    sentences += [f"To load the last row: {report.loading}."] if report.loading else []
    sentences += [INTERVALS] if any(row.intervals for row in report.rows) else []
    return [*sentences, *report.notes, " ".join(worth_of(report).split())]


def picture_figures(report: Report) -> list[str]:
    """The pictures that a report has numbers for, under a heading."""
    figures = [
        f"<figure><figcaption>{escape(title)}</figcaption>{picture}</figure>" for title, picture in pictures(report).items()
    ]
    return [f'<h2>Pictures</h2>\n<div class="pictures">{"".join(figures)}</div>'] if figures else []


def examples_shown(report: Report) -> list[str]:
    """A few inputs with what every row answers, under a heading."""
    if not report.examples:
        return []
    shown = []
    for place, example in enumerate(report.examples):
        lines = [("input", example.input), ("expected", example.expected)]
        lines += [(row.name, row.answers[place]) for row in report.rows if place < len(row.answers)]
        said = "".join(f"<p><span>{escape(name)}</span>{escape(text)}</p>" for name, text in lines)
        shown.append(f'<div class="example">{said}</div>')
    silent = [row.name for row in report.rows if not row.answers]
    notes = [
        f"The first {len(shown)} of what was measured.",
        *([f"Without answers: {', '.join(silent)}."] if silent else []),
    ]
    return [f"<h2>Examples</h2>\n{note(notes)}", *shown]


def definitions(values: Mapping[str, Any]) -> str:
    """Names, and what stands for each."""
    return (
        "<dl>"
        + "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in values.items())
        + "</dl>"
    )
