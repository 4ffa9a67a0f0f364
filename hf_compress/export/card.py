"""The model card, rendered from the manifest alone."""

from typing import Any

from hf_compress._yaml import write_yaml

_PIPELINES = {
    "causal_lm": "text-generation",
    "sequence_classification": "text-classification",
    "image_classification": "image-classification",
}


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
    hub = None if base is None or base.startswith((".", "/", "~")) else base  # the Hub refuses cards that name a folder
    front = ModelCardData(
        library_name="transformers",
        pipeline_tag=_PIPELINES[manifest["task"]],
        base_model=hub,
        base_model_relation=relation if hub else None,
        tags=["hf_compress", *sorted({method["name"] for method in methods})],
    )
    ours = report["rows"][-1]
    dense = report["rows"][0]
    metric = report["metric"]
    done = "\n".join(
        f"- {method['kind']}: `{method['name']}`" + (f" ({method['reference']})" if method["reference"] else "")
        for method in methods
    )
    setting = "\n".join(f"- {key}: {value}" for key, value in report["setting"].items())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    source = f"It starts from `{base}`." if base else "It starts from fresh weights that the same run trained."
    recipe = write_yaml(manifest["recipe"], width=80)
    return f"""---
{front.to_yaml()}
---

# {manifest["name"]}

A compressed model. {source} Test {metric.replace("_", " ")}: {ours["metrics"][metric]:.4g}, dense: \
{dense["metrics"][metric]:.4g}; {ours["file_bytes"] / dense["file_bytes"]:.2f}x the dense size on disk.

{table}

![{metric} against size](report.png)

## Use

```python
{_usage(manifest["task"])}
```

Quantized weights need the package `compressed-tensors` beside transformers; hf_compress itself is not needed.
Unstructured zeros do not make a model faster by themselves; the smaller weights do where memory is the limit.

## What was done

{done}

## Measured on

{setting}

Made on {manifest["created"]} with {versions}.

## Recipe

```yaml
{recipe}```
"""


def _usage(task: str) -> str:
    """Three lines that load the folder the card lies in."""
    classes = {
        "causal_lm": ("AutoModelForCausalLM", "AutoTokenizer"),
        "sequence_classification": ("AutoModelForSequenceClassification", "AutoTokenizer"),
        "image_classification": ("AutoModelForImageClassification", "AutoImageProcessor"),
    }
    model, processor = classes[task]
    return (
        f"from transformers import {model}, {processor}\n\n"
        f'model = {model}.from_pretrained("<this repository or folder>")\n'
        f'processor = {processor}.from_pretrained("<this repository or folder>")'
    )
