"""The card of a model that was made smaller without training; one that was measured is told of as a trained one is."""

from typing import Any

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card import train
from hf_compress.export.card.sections import bullets, loading_code, made, method_line, place_name, section
from hf_compress.tasks.heads import head_of_class


def front(manifest: Manifest) -> dict[str, Any]:
    """For the Hub."""
    if "report" in manifest.facts:
        return train.front(manifest)
    base, head = manifest.fact("base_model"), head_of_class(manifest.fact("classes")["model"])
    return {
        "pipeline": None if head is None else head.pipeline,
        "bases": [base],
        "relation": "finetune",
        "tags": ["shrink"],
    }


def blocks(manifest: Manifest, findings: str) -> list[str]:
    """What it is, how to load it, what was removed and what nobody has measured."""
    if "report" in manifest.facts:
        return train.blocks(manifest, findings)
    base = place_name(manifest.fact("base_model"))
    done = [*map(method_line, manifest.fact("methods")), f"- removed: {manifest.fact('removed')}"]
    return [
        f"A smaller model, made of the parts of {base} that stay. Nothing was trained.",
        "**Verdict: none**: what was lost was not measured; train it, and measure it before you use it.",
        section("Use", loading_code(manifest.fact("classes"))),
        section("What was done", "\n".join(done)),
        section(
            "Limits", bullets({"content": f"faults and biases of {base} are still in it; nothing here looked for them"})
        ),
        section("Made", made(manifest)),
    ]
