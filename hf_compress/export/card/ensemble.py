"""The card of an ensemble."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.results import card_results
from hf_compress.export.card.sections import bullets, made, method_line, section
from hf_compress.tasks.task import Task

_HERE = "<this repository or folder>"


def front(manifest: Manifest) -> dict[str, Any]:
    """For the Hub."""
    pipeline = _task(manifest).head.pipeline
    return {
        "bases": manifest.fact("base_model"),
        "several": True,
        "relation": "merge",  # the Hub's word for what is made of several models
        "tags": ["ensemble", manifest.fact("combiner")["name"]],
        "pipeline": pipeline,
        "results": card_results(manifest, pipeline) if "report" in manifest.facts else [],
    }


def blocks(manifest: Manifest, findings: str) -> list[str]:
    """What it is, how good it is, how to load it, its members and what the numbers do not say."""
    members, report = manifest.fact("members"), manifest.facts.get("report")
    unmeasured = (
        "**Verdict: none**: it was neither fitted nor measured, as the recipe has no data; measure it before you use it."
    )
    picture = [] if report is None else [f"![{report['metric']} against size](report.png)"]
    return [
        f"An ensemble of {len(members)} models, {manifest.fact('size')} of weights: every one of them is asked, and their"
        " answers become one. No weights were merged.",
        findings or unmeasured,
        *picture,
        section("Use", _code(manifest)),
        section("Members", _members(members), method_line(manifest.fact("combiner")), *_learned(manifest)),
        section("Limits", bullets(_limits(manifest))),
        section(
            "Measured on" if report is not None else "Made",
            *([bullets({**report["setting"], **_rows(manifest)})] if report is not None else []),
            f"Load-back: {manifest.fact('load_back')}.",
            made(manifest),
        ),
    ]


def _task(manifest: Manifest) -> type[Task]:
    known = Task.available()
    if manifest.fact("task") not in known:
        raise CompressionError(unknown("task", manifest.fact("task"), known))
    return known[manifest.fact("task")]


def _code(manifest: Manifest) -> str:
    """With this package, which knows what an ensemble is, and without it."""
    task = _task(manifest)
    model, processor = task.head.auto_class, task.processor_class
    lines = [
        "```python",
        "from hf_compress import ParallelEnsemble  # transformers knows ensembles from then on",
        f"from transformers import {', '.join(sorted((model, processor)))}",
        "",
        f'model = {model}.from_pretrained("{_HERE}")',
        f'processor = {processor}.from_pretrained("{_HERE}")',
        "```",
        "",
        "Where hf_compress is not installed, pass `trust_remote_code=True` to both: the code beside the weights,"
        " `modeling_ensemble.py`, is then run on your machine; read it first.",
    ]
    return "\n".join(lines)


def _members(members: list[dict[str, Any]]) -> str:
    """A table."""
    lines = ["| member | from | architecture | weight | temperature |", "| --- | --- | --- | --- | --- |"]
    for member in members:
        known = "model" in member
        source = f"`{member['model']}` at `{member['revision'][:12]}`" if known else "a local folder"
        numbers = f"{member['weight']:.4f} | {member['temperature']:.3f}"
        lines.append(f"| {member['name']} | {source} | {member['architecture']} | {numbers} |")
    return "\n".join(lines)


def _learned(manifest: Manifest) -> list[str]:
    learned = manifest.fact("fitted")
    said = f"{' and '.join(learned).capitalize()} were fitted on the validation rows." if learned else "Nothing was fitted."
    return [said]


def _limits(manifest: Manifest) -> dict[str, str]:
    """What the numbers do not say."""
    broken = {
        "refuse": "a member that answers NaN is an error",
        "leave_out": "a member that answers NaN is left out of that batch, without a word",
    }
    return {
        "cost": "an answer costs the time of all members, and their memory; neither was measured here",
        "quality": "measured on the rows below and on no others, if at all",
        "NaN": broken[manifest.fact("on_nan")],
        "content": "faults and biases of the members and of their data are still in it; nothing here looked for them",
    }


def _rows(manifest: Manifest) -> dict[str, str]:
    """The rows by their hash, and what may differ where they are measured again."""
    data, report = manifest.fact("data"), manifest.fact("report")
    tolerance = manifest.facts.get("tolerance") or {}
    compared = [report["metric"], *report.get("also", {})]
    again = ", ".join(f"{name} ± {tolerance[name]:.2g}" for name in compared if name in tolerance)
    return {"rows": f"{data['num_rows']:,}, SHA-256 `{data['sha256']}`", "measured again": again}
