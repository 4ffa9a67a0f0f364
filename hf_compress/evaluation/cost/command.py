"""The command `hf-compress cost`."""

import json
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._problems import Problem, RecipeError
from hf_compress.evaluation.cost.configuration import Cost
from hf_compress.evaluation.cost.measure import measure_cost
from hf_compress.evaluation.cost.report import cost_tables
from hf_compress.recipe.build import build
from hf_compress.tasks.task import Task


def run_cost(model: str, against: str | None, task: str | None, given: dict[str, Any], file: Path | None) -> str:
    """Measure, and write the numbers where that is asked for.

    Args:
        model: a folder or Hub id.
        against: the same of a baseline.
        task: its name.
        given: fields of `Cost` as plain data.
        file: a new one; gets the report as JSON.

    Returns:
        The tables, and where it was measured.

    Raises:
        CompressionError: see `measure_cost`; or the file exists, or its folder does not.
    """
    problems: list[Problem] = []
    cost = build(Cost, given, "", problems)
    if problems:
        raise RecipeError(problems)
    if file is not None and (file.exists() or not file.absolute().parent.is_dir()):
        raise CompressionError(f"--json: {file} {'exists' if file.exists() else 'is in no folder'}; name a new file")
    report = measure_cost(model, against, None if task is None else Task.create(task), cost)
    if file is not None:
        file.write_text(json.dumps(report.to_plain(), indent=1) + "\n", encoding="utf-8")
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    return f"{cost_tables(report)}\n\n{setting}"
