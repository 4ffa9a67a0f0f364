"""The model card, rendered from the manifest alone."""

from typing import Any

from hf_compress._runtimes import RUNTIMES
from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.tasks.heads import head_of_class
from hf_compress.tasks.task import Task


def render_card(manifest: dict[str, Any], table: str) -> str:
    """README.md for the Hub.

    Args:
        manifest: as `build_manifest` makes it.
        table: the report's table in markdown.

    Returns:
        YAML front matter (license is the user's to add) and a text that says what was done and how to load it.
    """
    from huggingface_hub import ModelCardData

    report = manifest["report"]
    methods = manifest["methods"]
    relation = "quantized" if any(method["kind"] == "scheme" for method in methods) else "finetune"
    base = manifest["base_model"]
    hub = base if base is not None and is_hub_id(base) else None  # the Hub refuses cards that name a folder
    front = ModelCardData(
        library_name="transformers",
        pipeline_tag=_pipeline(manifest),
        base_model=hub,
        base_model_relation=relation if hub else None,
        tags=["hf_compress", *sorted({method["name"] for method in methods})],
    )
    metric = report["metric"]
    done = "\n".join(
        f"- {method['kind']}: `{method['name']}`" + (f" ({method['reference']})" if method["reference"] else "")
        for method in methods
    )
    done += "".join(f"\n- reach: {sentence}" for sentence in report.get("reach", ()))
    setting = "\n".join(f"- {key}: {value}" for key, value in report["setting"].items())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    # A run written in Python knows a model in memory and not where it came from.
    fresh = "It starts from fresh weights that the same run trained. " if manifest["task"] else ""
    source = f"It starts from `{base}`. " if base else fresh
    recipe = write_yaml(manifest["recipe"], width=80)
    loading = f"Mind: {report['loading']}.\n" if report.get("loading") else ""
    return f"""---
{front.to_yaml()}
---

# {manifest["name"]}

A compressed model. {source}{_quality(report)}

{table}

![{metric} against size](report.png)

## Use

```python
{_usage(manifest)}
```

Quantized weights need the package `compressed-tensors` beside transformers; hf_compress itself is not needed.
{RUNTIMES}
{loading}
## What was done

{done}

## Measured on

{setting}

Made on {manifest["created"]} with {versions}.

## Recipe

```yaml
{recipe}```
"""


def _pipeline(manifest: dict[str, Any]) -> str | None:
    """The Hub's task, which decides the widget; None where the model's class does not say one."""
    if manifest["task"] is not None:
        return _task(manifest).head.pipeline
    head = head_of_class(manifest["classes"]["model"])
    return None if head is None else head.pipeline


def _task(manifest: dict[str, Any]) -> type[Task]:
    return Task.available()[manifest["task"]]


def _quality(report: dict[str, Any]) -> str:
    """The result's metric and size, beside the dense model's where one was measured."""
    metric = report["metric"]
    name, ours, dense = metric.replace("_", " "), report["rows"][-1], report["rows"][0]
    value = f"Test {name}: {ours['metrics'][metric]:.4g}"
    if dense is ours:
        return f"{value}; no dense model was measured beside it."
    share = ours["file_bytes"] / dense["file_bytes"]
    return f"{value}, dense: {dense['metrics'][metric]:.4g}; {share:.2f}x the dense size on disk."


def _usage(manifest: dict[str, Any]) -> str:
    """Three lines that load the folder the card lies in."""
    if manifest["task"] is not None:
        task = _task(manifest)
        model, processor = task.head.auto_class, task.processor_class
    else:
        model, processor = manifest["classes"]["model"], manifest["classes"]["processor"]
    here = '"<this repository or folder>"'
    lines = [
        f"from transformers import {', '.join(filter(None, (model, processor)))}\n",
        f"model = {model}.from_pretrained({here})",
    ]
    if processor is not None:
        lines.append(f"processor = {processor}.from_pretrained({here})")
    return "\n".join(lines)
