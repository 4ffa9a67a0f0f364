"""The card of a LoRA adapter: of a difference, or of several adapters added up."""

from typing import Any

from hf_compress.checkpoints.location import is_hub_id
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.sections import bullets, made, section
from hf_compress.tasks.heads import head_of_peft


def front(manifest: Manifest) -> dict[str, Any]:
    """For the Hub."""
    base, head = manifest.fact("base_model"), head_of_peft(manifest.fact("task_type"))
    return {
        "bases": [base] if base else [],
        "relation": "adapter",
        "tags": ["lora"],
        "library": "peft",
        "pipeline": None if head is None else head.pipeline,
    }


def blocks(manifest: Manifest, table: str) -> list[str]:
    """What it is, how to load it, how well it holds what was wanted, and what it was made of."""
    base, facts = manifest.fact("base_model"), manifest.fact("adapter")
    ranks = facts["ranks"]
    shown = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}" if ranks else "no factors"
    origin = {
        "extract-adapter": "the difference between two models, as far as factors of this rank hold it",
        "merge-adapters": "several adapters of one base, added up",
    }[manifest.kind]
    known = f" for `{base}`" if base and is_hub_id(base) else ""
    held = {
        "layers": facts["layers"],
        "parameters": f"{facts['parameters']:,}",
        "relative error of the change": f"{facts['error']:.3g}",
        **({"saved whole": ", ".join(facts["saved_whole"])} if facts["saved_whole"] else {}),
        **({"load-back": facts["load_back"]} if facts["load_back"] else {}),
    }
    lost = bullets({f"not carried: {name}": reason for name, reason in facts["lost"].items()})
    return [
        f"A LoRA adapter ({shown}){known}: {origin}.",
        section("Use", _usage(manifest, base)),
        section("What it holds", *(text for text in (bullets(held), lost) if text)),
        section("Inputs", _inputs(manifest.fact("inputs")), made(manifest)),
    ]


def _usage(manifest: Manifest, base: str | None) -> str:
    head = head_of_peft(manifest.fact("task_type"))
    cls = "AutoModel" if head is None else head.auto_class
    name = f'"{base}"' if base and is_hub_id(base) else '"<its base>"'
    lines = [
        "from peft import PeftModel",
        f"from transformers import {cls}",
        "",
        f"base = {cls}.from_pretrained({name})",
        'model = PeftModel.from_pretrained(base, "<this repository or folder>")',
    ]
    return "\n".join(["```python", *lines, "```"])


def _inputs(inputs: Any) -> str:
    """Files with the first digits of their hashes."""
    if isinstance(inputs, dict):
        return bullets(
            {
                label: ", ".join(f"`{file}` {digest[:16]}" for file, digest in files.items())
                for label, files in inputs.items()
            }
        )
    return bullets({item["adapter"]: f"{item['sha256'][:16]}, times {item['weight']:g}" for item in inputs})
