"""The card of an ensemble."""

from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress._units import format_bytes
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
        "tags": ["ensemble", _method(manifest)["name"]],
        "pipeline": pipeline,
        "results": card_results(manifest, pipeline) if "report" in manifest.facts else [],
    }


def blocks(manifest: Manifest, findings: str) -> list[str]:
    """What it is, how good it is, how to load it, its members and what the numbers do not say."""
    members, report = manifest.fact("members"), manifest.facts.get("report")
    unmeasured = (
        "**Verdict: none**: it was neither fitted nor measured, as the recipe has no data; measure it before you use it."
    )
    against = "cost" if report is not None and report.get("costs") else "size"
    picture = [] if report is None else [f"![{report['metric']} against {against}](report.png)"]
    return [
        f"An ensemble of {len(members)} models, {manifest.fact('size')} of weights: {_asked(manifest)}. No weights were"
        " merged.",
        findings or unmeasured,
        *picture,
        section("Use", _code(manifest)),
        *([section("As one graph", *_graph(manifest.fact("graph")))] if "graph" in manifest.facts else []),
        section("Members", _members(members, _fusion(manifest) is None), *_methods(manifest), *_learned(manifest)),
        *([section("Cascade", *_stages(report))] if report is not None and report.get("stages") else []),
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


def _fusion(manifest: Manifest) -> dict[str, Any] | None:
    """None where all are asked and combined, as in manifests that do not say how."""
    known = manifest.facts.get("fusion")
    return None if known is None or known["name"] == "parallel" else known


def _method(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = _fusion(manifest) or manifest.fact("combiner")
    return found


def _methods(manifest: Manifest) -> list[str]:
    fusion = _fusion(manifest)
    methods = [] if fusion is None else [{**fusion, "options": _short(fusion["options"])}]
    combined = [manifest.fact("combiner")] if fusion is None or fusion["name"] == "gating" else []
    return ["\n".join(method_line(one) for one in (*methods, *combined))]


def _short(options: dict[str, Any]) -> dict[str, Any]:
    """Options that a line can show."""
    return {key: value["name"] if isinstance(value, dict) and "name" in value else value for key, value in options.items()}


def _asked(manifest: Manifest) -> str:
    """Who is asked about a row."""
    fusion = _fusion(manifest)
    if fusion is None:
        return "every one of them is asked, and their answers become one"
    said = {
        "cascade": "they are asked one after the other, from cheap to dear, until one is sure of its answer",
        "stacking": "every one of them is asked, and a classifier makes one answer of theirs",
        "gating": "every one of them is asked, and a small network says for each row whom to listen to",
        "residual": "every one of them is asked, and their logits are added, each times a step size",
    }
    return said.get(fusion["name"], fusion["summary"].removesuffix("."))


def _stages(report: dict[str, Any]) -> list[str]:
    """The thresholds, and what they save."""
    lines = [
        f"| asked | answers from a confidence of | cost of a row ({report['cost_unit']}) | answers, validation |"
        " answers, test |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in report["stages"]:
        least = "any, all that reach it" if one["threshold"] is None else f"{one['threshold']:.6g}"
        least = "none, it answers nothing" if (one["threshold"] or 0) > 1 else least
        lines.append(f"| {one['member']} | {least} | {one['cost']:.4g} | {one['validation']:.1%} | {one['test']:.1%} |")
    ours, last = report["costs"][report["rows"][-1]["name"]], report["stages"][-1]
    return [
        "\n".join(lines),
        f"A row pays every stage that it visits: {ours:.4g} ({report['cost_unit']}) on the mean of the test rows,"
        f" {ours / last['cost']:.3f} of what {last['member']} alone costs. On other rows the shares are others, and so is"
        " the cost.",
    ]


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


def _graph(graph: dict[str, Any]) -> list[str]:
    """The graph beside the members: how it is loaded, and what it was compared with."""
    code = [
        "```python",
        "from transformers.exporters import ExportedModel",
        "",
        f'graph = ExportedModel.from_pretrained("{_HERE}", subfolder="{graph["folder"]}")',
        "```",
    ]
    rows = f"{graph['rows']:,} test rows" if graph["rows"] else "two made-up batches, as there are no rows"
    close = f", {graph['close']:,} of them too close to a threshold to compare" if graph["close"] else ""
    within = (
        f"; largest difference {graph['difference']:.2g}, largest output {graph['largest']:.3g}" if graph["rows"] else ""
    )
    facts = {
        "format": f"{graph['format']}, {format_bytes(graph['file_bytes'])}. {graph['needs']}",
        **({"members": graph["asked"]} if graph["asked"] else {}),
        "compared with the ensemble": f"on {rows}{close}{within}",
    }
    return ["All members in one program, which also runs without Python.", "\n".join(code), bullets(facts)]


def _members(members: list[dict[str, Any]], weighted: bool) -> str:
    """A table; with weights where they say something."""
    titles = ["member", "from", "architecture", *(["weight"] if weighted else []), "temperature"]
    lines = [f"| {' | '.join(titles)} |", f"| {' | '.join(['---'] * len(titles))} |"]
    for member in members:
        known = "model" in member
        source = f"`{member['model']}` at `{member['revision'][:12]}`" if known else "a local folder"
        numbers = (f"{member['weight']:.4f} | " if weighted else "") + f"{member['temperature']:.3f}"
        lines.append(f"| {member['name']} | {source} | {member['architecture']} | {numbers} |")
    return "\n".join(lines)


def _learned(manifest: Manifest) -> list[str]:
    learned = manifest.fact("fitted")
    if not learned:
        return ["Nothing was fitted."]
    one = len(learned) == 1 and not learned[0].endswith("s")
    return [f"{' and '.join(learned).capitalize()} {'was' if one else 'were'} fitted on the validation rows."]


def _limits(manifest: Manifest) -> dict[str, str]:
    """What the numbers do not say."""
    broken = {
        "refuse": "a member that answers NaN is an error",
        "leave_out": "a member that answers NaN is left out of that batch, without a word",
    }
    return {
        "cost": _cost(manifest),
        "quality": "measured on the rows below and on no others, if at all",
        "NaN": broken[manifest.fact("on_nan")],
        "content": "faults and biases of the members and of their data are still in it; nothing here looked for them",
    }


def _cost(manifest: Manifest) -> str:
    report, fusion = manifest.facts.get("report") or {}, _fusion(manifest)
    who = "of the stages that a row visits" if fusion is not None and fusion["name"] == "cascade" else "of all members"
    if not report.get("latency"):
        return f"an answer costs the time {who}, and {_whose(fusion)} memory; neither was measured here"
    return f"an answer costs the time {who}, measured on the machine below, and {_whose(fusion)} memory, which was not"


def _whose(fusion: dict[str, Any] | None) -> str:
    return "all members'" if fusion is not None and fusion["name"] == "cascade" else "their"


def _rows(manifest: Manifest) -> dict[str, str]:
    """The rows by their hash, and what may differ where they are measured again."""
    data, report = manifest.fact("data"), manifest.fact("report")
    tolerance = manifest.facts.get("tolerance") or {}
    compared = [report["metric"], *report.get("also", {})]
    again = ", ".join(f"{name} ± {tolerance[name]:.2g}" for name in compared if name in tolerance)
    return {"rows": f"{data['num_rows']:,}, SHA-256 `{data['sha256']}`", "measured again": again}
