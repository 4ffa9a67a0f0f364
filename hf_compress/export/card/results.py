"""What was measured, in the two forms that the Hub reads: the card's `model-index`, and `.eval_results/`."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_compress.checkpoints.manifest import Manifest

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_NO_DATASET = "other"
"""As a data set's type, for rows that are not on the Hub."""


def card_results(manifest: Manifest, pipeline: str | None) -> "list[EvalResult]":
    """The metrics that the report compares by, of its last row; [] for a head without a task of the Hub.

    Numbers that are none (a perplexity without bounds) are left out: JSON has no word for them.

    Args:
        manifest: of a training.
        pipeline: the Hub's name of the task.
    """
    from huggingface_hub import EvalResult

    if pipeline is None:
        return []
    report, data = manifest.fact("report"), manifest.facts.get("data") or {}
    ours = report["rows"][-1]
    said = manifest.recipe.get("data") or {}
    name = str(data.get("name") or said.get("path") or "unnamed").removeprefix("./")
    return [
        EvalResult(
            task_type=pipeline,
            dataset_type=data["name"] if data.get("hub") else _NO_DATASET,
            dataset_name=name,
            dataset_config=data.get("config"),
            dataset_split=data.get("split"),
            dataset_args={key: data[key] for key in ("num_rows", "sha256") if key in data} or None,
            metric_type=metric,
            metric_name=metric.replace("_", " "),
            metric_value=value,
            metric_args=_interval(ours, metric),
        )
        for metric, value in _compared(report)
    ]


def leaderboard_files(manifest: Manifest) -> dict[str, str]:
    """`.eval_results/<data set>.yaml` -> its text, for a whole split of a data set of the Hub; else nothing.

    A number of some of the rows, or of a split that was cut here, is none of that data set.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    from hf_compress._yaml import write_yaml

    data = manifest.facts.get("data") or {}
    if not data.get("hub") or not data.get("whole"):
        return {}
    report = manifest.fact("report")
    entries = [
        EvalResultEntry(
            dataset_id=data["name"],
            task_id=data.get("config") or "default",
            value=value,
            date=manifest.created,
            notes=f"{metric} of the {data['split']} split, {data['num_rows']} rows, measured by hf_compress",
        )
        for metric, value in _compared(report)
        if metric == report["metric"]
    ]
    if not entries:
        return {}
    return {f".eval_results/{data['name'].replace('/', '--')}.yaml": write_yaml(eval_result_entries_to_yaml(entries))}


def _compared(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    ours = report["rows"][-1]["metrics"]
    for metric in (report["metric"], *report.get("also", {})):
        if math.isfinite(ours[metric]):
            yield metric, ours[metric]


def _interval(row: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    known = (row.get("intervals") or {}).get(metric)
    return None if known is None else {"interval": list(known)}
