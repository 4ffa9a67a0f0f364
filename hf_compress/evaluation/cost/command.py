"""The command `hf-compress cost`."""

import json
from pathlib import Path
from typing import Any

from hf_compress import _distributed
from hf_compress._disk import disk_errors
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
        CompressionError: see `measure_cost`; several processes were started; or the file exists, or its folder does not.
    """
    _distributed.refuse_several("cost")  # the others would take the processor from the one that measures
    problems: list[Problem] = []
    cost = build(Cost, given, "", problems)
    if problems:
        raise RecipeError(problems)
    if file is not None:
        _check_new(file)
    report = measure_cost(model, against, None if task is None else Task.create(task), cost)
    if file is not None:
        with disk_errors(file):
            file.write_text(json.dumps(report.to_plain(), indent=1) + "\n", encoding="utf-8")
    setting = "\n".join(f"- {key}: {value}" for key, value in report.setting.items())
    return f"{cost_tables(report)}\n\n{setting}"


def _check_new(file: Path) -> None:
    """Refuse a file that is there, or that the system does not make: it is made and removed, as asking is not enough.

    Raises:
        CompressionError: saying which.
    """
    try:
        file.open("x").close()
        file.unlink()
    except FileExistsError as error:
        raise CompressionError(f"--json: {file} exists; name a new file") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CompressionError(f"--json: {file} is in no folder; name a new file") from error
    except OSError as error:
        raise CompressionError(
            f"--json: {str(file)[:160]} cannot be written ({error.strerror}); name another place"
        ) from error
