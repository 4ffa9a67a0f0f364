"""Measuring a finished model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress import _distributed
from hf_compress.evaluation.evaluate import run_evaluation
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.evaluation_table import cost_part, sentences, table, verdict_lines
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.inputs.place import place
from hf_compress.recipe.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What the job left behind.

    Attributes:
        report: the numbers.
        folder: with report.json, report.md, report.png and report.html.
    """

    report: EvaluationReport
    folder: Path

    def summary(self) -> str:
        """What the command line says at the end."""
        costs = [cost_part(self.report), ""] if self.report.cost is not None else []
        said = [*sentences(self.report), *verdict_lines(self.report)]
        return "\n".join([table(self.report), "", *said, "", *costs, str(self.folder)])


def _alone() -> None:
    """Nothing of it is shared out, and several processes would write into one folder."""
    _distributed.refuse_several("evaluate")


@dataclass(frozen=True, kw_only=True)
class Evaluate(Recipe, ModelEvaluation, name="evaluate"):
    """A `ModelEvaluation` with a place to write to.

    Attributes:
        output_dir: the new folder, which gets report.json, report.md, report.png and report.html.
    """

    output_dir: str

    checks = (_alone,)
    opens = (place,)
    after_interruption = "the same command begins again"

    def run(self, resume: bool = False) -> Any:
        """Measure; there is nothing to resume."""
        opened = self.open()
        return EvaluationResult(report=run_evaluation(self, opened, opened["place"]), folder=opened["place"])
