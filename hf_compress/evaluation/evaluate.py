"""Measuring finished models: from folders or the Hub to a report."""

import copy
import json
import logging
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError, reason_of
from hf_compress._folders import written_beside
from hf_compress._paths import in_public, public_names
from hf_compress._provenance import describe_machine
from hf_compress._registry import dump
from hf_compress._sharding.contract import loading_whole
from hf_compress.checkpoints.location import resolve_folder
from hf_compress.evaluation.evaluated import EvaluationReport
from hf_compress.evaluation.evaluation_table import to_markdown
from hf_compress.evaluation.model_evaluation import ModelEvaluation
from hf_compress.evaluation.rows import Row
from hf_compress.evaluation.size import measure_size
from hf_compress.tasks.metrics.directions import direction_of
from hf_compress.tasks.opened import Opened

logger = logging.getLogger(__name__)


def evaluate_model(evaluation: ModelEvaluation, out: str | Path | None = None) -> EvaluationReport:
    """Measure a finished model.

    Args:
        evaluation: the model, and what it is measured on.
        out: a new folder that gets report.json and report.md; None writes nothing.

    Raises:
        RecipeError: with everything that was refused.
    """
    return run_evaluation(evaluation, evaluation.open(), None if out is None else Path(out))


def run_evaluation(evaluation: ModelEvaluation, opened: dict[str, Any], out: Path | None) -> EvaluationReport:
    """The same of what is opened already.

    Args:
        evaluation: see there.
        opened: by its openers.
        out: see there.
    """
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    names = public_names(dump(evaluation, full=True))
    name = in_public(evaluation.model, names)
    row = _row(evaluation, opened["measured"], evaluation.model, name, device)
    report = _report(evaluation, opened["measured"], (row,), device, names)
    if out is not None:
        with written_beside(out) as part:
            write_evaluation(report, part)
    return report


def write_evaluation(report: EvaluationReport, folder: Path) -> None:
    """report.json and report.md into `folder`."""
    (folder / "report.json").write_text(json.dumps(report.to_plain(), indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(to_markdown(report), encoding="utf-8")


def load_finished(opened: Opened, model: str) -> PreTrainedModel:
    """A model as those who use it load it, told what its task tells every model.

    Args:
        opened: what goes with it.
        model: the folder or Hub id.

    Raises:
        CompressionError: it does not load.
    """
    assert opened.config is not None and opened.base is not None
    config = copy.deepcopy(opened.config)
    config.dtype = opened.base.dtype  # the skeleton, which is in fp32, has left its own there
    try:
        with loading_whole():
            loaded: PreTrainedModel = opened.task.model_class().from_pretrained(
                resolve_folder(model, "model"), config=config, dtype="auto", trust_remote_code=False
            )
    except CompressionError:
        raise
    except Exception as error:  # files and formats each raise their own kind
        raise CompressionError(f"model: {model} cannot be loaded: {reason_of(error)}") from error
    opened.task.finish_model(loaded, opened.processor)
    return loaded


def _row(evaluation: ModelEvaluation, opened: Opened, model: str, name: str, device: torch.device) -> Row:
    folder = resolve_folder(model, "model")
    loaded = load_finished(opened, model).to(device)  # type: ignore[arg-type]
    logger.info("measuring %s", name)
    found = opened.task.evaluate(
        loaded,
        opened.examples["test"],
        opened.raw["test"],
        opened.processor,
        evaluation.batch_size,
        f"measuring {name}",
        evaluation.metrics,
    )
    size = measure_size(folder)
    return Row(name=name, metrics=found, file_bytes=size["file_bytes"], quantized_ratio=size["quantized_ratio"])


def _report(
    evaluation: ModelEvaluation, opened: Opened, rows: tuple[Row, ...], device: torch.device, names: dict[str, str]
) -> EvaluationReport:
    task = opened.task
    known = {key: direction_of(key, evaluation.metrics) for key in rows[-1].metrics}
    directions = {key: greater for key, greater in known.items() if greater is not None}
    counts = {key.replace("_", " "): f"{rows[-1].metrics[key]:,.0f}" for key in known if key not in directions}
    facts = {name: fact for name, fact in opened.facts.items() if name not in counts}
    setting = {
        "task": task.name,
        "data": f"{evaluation.data.path} ({_measured(evaluation)}: {len(opened.examples['test']):,} {task.unit})",
        **facts,
        **counts,
        "seed": evaluation.seed,
        **describe_machine(device),
    }
    return EvaluationReport(
        title=rows[-1].name,
        metric=task.metric,
        greater_is_better=task.greater_is_better,
        rows=rows,
        setting=in_public(setting, names),
        also={key: greater for key, greater in evaluation.directions.items() if key != task.metric},
        directions=directions,
        recipe=in_public(dump(evaluation), names),
    )


def _measured(evaluation: ModelEvaluation) -> str:
    return "all rows" if evaluation.split == "all" else f"the {evaluation.split} split"
