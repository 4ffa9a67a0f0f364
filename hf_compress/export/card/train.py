"""The card of one model, trained smaller."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress._runtimes import worth
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.results import card_results
from hf_compress.export.card.sections import (
    bullets,
    loading_code,
    made,
    method_line,
    minded,
    place_name,
    section,
    serving,
)
from hf_compress.tasks.heads import head_of_class
from hf_compress.tasks.task import Task


def front(manifest: Manifest) -> dict[str, Any]:
    """For the Hub."""
    methods, base, pipeline = manifest.fact("methods"), manifest.fact("base_model"), _pipeline(manifest)
    return {
        "pipeline": pipeline,
        "results": card_results(manifest, pipeline),
        "bases": [base] if base else [],
        "relation": "quantized" if any(method["kind"] == "scheme" for method in methods) else "finetune",
        "tags": sorted({method["name"] for method in methods}),
    }


def blocks(manifest: Manifest, findings: str) -> list[str]:
    """What it is, how to load it, what was done and how it was measured."""
    report, base = manifest.fact("report"), manifest.fact("base_model")
    # A run written in Python knows a model in memory and not where it came from.
    fresh = "It starts from fresh weights that the same run trained. " if manifest.fact("task") else ""
    source = f"It starts from {place_name(base)}. " if base else fresh
    done = [method_line(method) for method in manifest.fact("methods")]
    done += [f"- reach: {sentence}" for sentence in report.get("reach", ())]
    form, classes = _format(manifest), _classes(manifest)
    own = form.usage(str(classes["model"]), classes["processor"])
    code = f"```python\n{own}\n```" if own else loading_code(classes)
    needs = [form.needs, *minded(report.get("loading"))]
    return [
        f"A {'compressed' if done else 'fine-tuned'} model. {source}{_quality(report)}",
        findings,
        f"![{report['metric']} against size](report.png)",
        section("Use", code, "\n".join(needs)),
        *serving(_pipeline(manifest), form.served_by_vllm),
        section("What was done", "\n".join(done) or "- plain fine-tuning; nothing is compressed"),
        section("Limits", bullets(_limits(base, report["rows"][-1]))),
        section("Measured on", bullets({**report["setting"], **_rows(manifest)}), made(manifest)),
    ]


def _task(manifest: Manifest) -> type[Task]:
    known = Task.available()
    if manifest.fact("task") not in known:
        raise CompressionError(unknown("task", manifest.fact("task"), known))
    return known[manifest.fact("task")]


def _pipeline(manifest: Manifest) -> str | None:
    """The Hub's task, which decides the widget; None where the model's class does not say one."""
    if manifest.fact("task") is not None:
        return _task(manifest).head.pipeline
    head = head_of_class(manifest.fact("classes")["model"])
    return None if head is None else head.pipeline


def _classes(manifest: Manifest) -> dict[str, str | None]:
    """What loads the model, and its processor where it has one."""
    if manifest.fact("task") is None:
        return {name: manifest.fact("classes")[name] for name in ("model", "processor")}
    task = _task(manifest)
    return {"model": task.head.auto_class, "processor": task.processor_class}


def _format(manifest: Manifest) -> ExportFormat:
    """What the checkpoint is written in; manifests of runs that had no choice do not say it."""
    asked = manifest.recipe.get("export", {}).get("format", "auto")
    name, options = (asked, {}) if isinstance(asked, str) else (asked["name"], asked)
    form = ExportFormat.create(name, **{key: value for key, value in options.items() if key != "name"})
    return form.chosen(quantized=any(method["kind"] == "scheme" for method in manifest.fact("methods")))


def _limits(base: str | None, last: dict[str, Any]) -> dict[str, str]:
    """What the numbers do not say."""
    source = f"{place_name(base)} and of " if base else ""
    speed = worth(packed=last.get("quantized_ratio") is not None, zeros=last.get("sparsity") is not None)
    return {
        "speed": " ".join(speed.split()),
        "quality": "measured on the rows below and on no others; what compression costs elsewhere is not known",
        "content": f"faults and biases of {source}the training data are still in it; nothing here looked for them",
    }


def _rows(manifest: Manifest) -> dict[str, str]:
    """The rows by their hash, and what may differ where they are measured again, where the manifest knows it."""
    data = manifest.facts.get("data")
    said = {} if not data else {"rows": f"{data['num_rows']:,}, SHA-256 `{data['sha256']}`"}
    compared = [manifest.fact("report")["metric"], *manifest.fact("report").get("also", {})]
    tolerance = manifest.facts.get("tolerance") or {}
    again = ", ".join(f"{name} ± {tolerance[name]:.2g}" for name in compared if name in tolerance)
    return {**said, **({"measured again": again} if again else {})}


def _quality(report: dict[str, Any]) -> str:
    """The result's metric and size, beside the dense model's where one was measured."""
    metric = report["metric"]
    name, ours, dense = metric.replace("_", " "), report["rows"][-1], report["rows"][0]
    value = f"Test {name}: {ours['metrics'][metric]:.4g}"
    if dense is ours:
        return f"{value}; no dense model was measured beside it."
    share = ours["file_bytes"] / dense["file_bytes"]
    return f"{value}, dense: {dense['metrics'][metric]:.4g}; {share:.2f}x the dense size on disk."
