"""The card of a merge."""

from typing import Any

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.sections import bullets, loading_code, made, minded, named, section
from hf_compress.merging.engine.result import report_lines


def front(manifest: Manifest) -> dict[str, Any]:
    """For the Hub."""
    job = manifest.fact("merge")
    models = [job["base"]] if job["base"] else []
    return {
        "bases": models + [member["model"] for member in job["members"]],
        "several": True,
        "relation": "merge",
        "tags": ["merge", manifest.fact("method")["name"]],
    }


def blocks(manifest: Manifest, findings: str) -> list[str]:
    """What it is, how to load it, where every tensor went and which files it was made of."""
    job, reports = manifest.fact("merge"), manifest.fact("reports")
    said = "".join(f"\n{line}." for line in report_lines(reports))
    return [
        f"A merge of {len(job['members'])} models by {named(manifest.fact('method'))}, {manifest.fact('size')} of weights.",
        findings or "**Verdict: none**: the quality of this merge was not measured; measure it before you use it.",
        *_use(manifest, reports.get("requantized")),
        section(
            "Tensors",
            bullets(manifest.fact("tensors")),
            f"Every tensor of every input is accounted for. Load-back: {manifest.fact('load_back')}.{said}",
        ),
        section(
            "Inputs",
            _inputs(manifest.fact("inputs")),
            f"{made(manifest)} The same inputs, parameters and seed ({job['seed']}) give the same bytes.",
        ),
    ]


def _use(manifest: Manifest, packed: dict[str, Any] | None) -> list[str]:
    """How to load it; nothing where transformers does not know the architecture."""
    if manifest.fact("architecture") is None:
        return []
    processor = "AutoProcessor" if manifest.fact("processor") else None
    code = loading_code({"model": manifest.fact("architecture"), "processor": processor}, alphabetical=True)
    if not packed:
        return [section("Use", code)]
    needs = ["Its quantized weights need the package `compressed-tensors` beside transformers."]
    return [section("Use", code, "\n".join([*needs, *minded(packed.get("loading"))]))]


def _inputs(inputs: dict[str, dict[str, str]]) -> str:
    """A table of the inputs' files."""
    rows = [
        f"| {label} | {', '.join(f'`{file}` {digest[:16]}' for file, digest in files.items())} |"
        for label, files in inputs.items()
    ]
    return "\n".join(["| input | file and first 16 digits of its SHA-256 |", "| --- | --- |", *rows])
