"""The report's files: data, text, picture and page."""

import json
from pathlib import Path

from hf_compress._folders import make_folder
from hf_compress.evaluation import evaluation_table, report
from hf_compress.evaluation.ensembled import EnsembleReport
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.rows import Report
from hf_compress.evaluation.verdict import judge


def write(written: Report, folder: Path) -> None:
    """report.json, report.md, report.png and report.html of a run into `folder`."""
    from hf_compress.evaluation.page import to_html

    _write(written, folder, report.to_markdown(written), to_html(written))


def write_evaluation(written: EvaluationReport, folder: Path) -> None:
    """The same of finished models that were measured."""
    from hf_compress.evaluation.evaluation_page import to_html

    _write(written, folder, evaluation_table.to_markdown(written), to_html(written))


def write_ensemble(written: EnsembleReport, folder: Path) -> None:
    """The same of an ensemble and its members."""
    from hf_compress.evaluation import ensemble_text

    _write(written, folder, ensemble_text.to_markdown(written), ensemble_text.to_html(written))


def _write(written: Report, folder: Path, text: str, page: str) -> None:
    from hf_compress.evaluation.plot import plot

    make_folder(folder)
    verdict = judge(written)
    data = {**written.to_plain(), "verdict": {"kind": verdict.kind, "reason": verdict.reason}}
    (folder / "report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(text, encoding="utf-8")
    plot(written, folder / "report.png")
    (folder / "report.html").write_text(page, encoding="utf-8")
