"""The report's files: data, text, picture and page."""

import json
from pathlib import Path

from hf_compress._folders import make_folder
from hf_compress.evaluation.report import to_markdown
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.verdict import judge


def write(report: Report, folder: Path) -> None:
    """report.json, report.md, report.png and report.html into `folder`."""
    from hf_compress.evaluation.page import to_html
    from hf_compress.evaluation.plot import plot

    make_folder(folder)
    verdict = judge(report)
    data = {**report.to_plain(), "verdict": {"kind": verdict.kind, "reason": verdict.reason}}
    (folder / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report), encoding="utf-8")
    plot(report, folder / "report.png")
    (folder / "report.html").write_text(to_html(report), encoding="utf-8")
