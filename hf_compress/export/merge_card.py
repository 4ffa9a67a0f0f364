"""The model card of a merge, rendered from the manifest alone."""

from typing import Any

from hf_compress._yaml import write_yaml
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.merging.engine.run import report_lines


def render_merge_card(manifest: dict[str, Any]) -> str:
    """README.md for the Hub.

    Args:
        manifest: as `merge_manifest` makes it.
    """
    from huggingface_hub import ModelCardData

    job, method = manifest["merge"], manifest["method"]
    models = [job["base"]] if job["base"] else []
    models += [member["model"] for member in job["members"]]
    # The Hub refuses cards that name a folder.
    published = sorted({model for model in models if is_hub_id(model)})
    front = ModelCardData(
        library_name="transformers",
        base_model=published or None,
        base_model_relation="merge" if published else None,
        tags=["hf_compress", "merge", method["name"]],
    )
    source = f"`{method['name']}`" + (f" ({method['reference']})" if method["reference"] else "")
    labels = list(manifest["inputs"])
    inputs = "\n".join(
        f"| {label} | {', '.join(f'`{file}` {digest[:16]}' for file, digest in manifest['inputs'][label].items())} |"
        for label in labels
    )
    tensors = "\n".join(f"- {what}: {count}" for what, count in manifest["tensors"].items())
    reports = "".join(f"\n{line}." for line in report_lines(manifest["reports"]))
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    recipe = write_yaml(manifest["recipe"], width=80)
    return f"""---
{front.to_yaml()}
---

# {manifest["name"]}

A merge of {len(job["members"])} models by {source}, {manifest["size"]} of weights.

{_usage(manifest)}## Tensors

{tensors}

Every tensor of every input is accounted for. Load-back: {manifest["load_back"]}.{reports}

## Inputs

| input | file and first 16 digits of its SHA-256 |
| --- | --- |
{inputs}

Made on {manifest["created"]} with {versions}. The same inputs, parameters and seed ({job["seed"]}) give the same bytes.

## Recipe

```yaml
{recipe}```
"""


def _usage(manifest: dict[str, Any]) -> str:
    """How to load it; nothing where transformers does not know the architecture."""
    model = manifest["architecture"]
    if model is None:
        return ""
    lines = [f'model = {model}.from_pretrained("<this repository or folder>")']
    if manifest["processor"]:
        lines.append('processor = AutoProcessor.from_pretrained("<this repository or folder>")')
    names = ", ".join(sorted([model, *["AutoProcessor"] * manifest["processor"]]))
    packed = manifest["reports"].get("requantized")
    needs = "\nIts quantized weights need the package `compressed-tensors` beside transformers.\n" if packed else ""
    needs += f"Mind: {packed['loading']}.\n" if packed and packed.get("loading") else ""
    code = "\n".join(lines)
    return f"## Use\n\n```python\nfrom transformers import {names}\n\n{code}\n```\n{needs}\n"
