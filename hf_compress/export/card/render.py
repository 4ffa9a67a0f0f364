"""A card from its manifest alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._registry import unknown
from hf_compress.checkpoints.location import is_hub_id
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card import adapter, ensemble, merge, shrink, train
from hf_compress.export.card.sections import files, licence, recipe

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_KINDS = {
    "ensemble": (ensemble.front, ensemble.blocks),
    "merge": (merge.front, merge.blocks),
    **dict.fromkeys(("prune", "train"), (train.front, train.blocks)),
    "shrink": (shrink.front, shrink.blocks),
    **dict.fromkeys(("extract-adapter", "merge-adapters"), (adapter.front, adapter.blocks)),
}
"""Kind of manifest -> its front matter and its text, without the title and the recipe."""


def render_card(manifest: Manifest, findings: str = "") -> str:
    """README.md for the Hub.

    Args:
        manifest: of a result.
        findings: its report's table in markdown and the verdict, where it has a report.

    Returns:
        YAML front matter and a text that says what was done and how to load it.

    Raises:
        CompressionError: results of this kind have no card, or the manifest lacks a fact that the card says.
    """
    if manifest.kind not in _KINDS:
        raise CompressionError(unknown("kind of result for a card", manifest.kind, _KINDS))
    front, blocks = _KINDS[manifest.kind]
    last = [*files(manifest), *licence(manifest), recipe(manifest)]
    text = [_front_matter(manifest, **front(manifest)), f"# {manifest.name}", *blocks(manifest, findings), *last]
    return "\n\n".join(text) + "\n"


def has_own_card(manifest: Manifest) -> bool:
    """Whether the manifest alone gives the card: its kind has one, and no report's table stands in it."""
    return manifest.kind in _KINDS and "report" not in manifest.facts


def _front_matter(
    manifest: Manifest,
    tags: list[str],
    bases: list[str],
    relation: str,
    pipeline: str | None = None,
    several: bool = False,
    library: str = "transformers",
    results: "Sequence[EvalResult]" = (),
) -> str:
    """What the Hub reads.

    Args:
        manifest: of the result.
        tags: beside that of this library.
        bases: what the weights were made from; folders are left out, because the Hub refuses cards that name one.
        relation: to the bases.
        pipeline: the Hub's name of the task; None where it is not known.
        several: there may be more than one base.
        library: that loads it.
        results: for the model index.
    """
    from huggingface_hub import ModelCardData

    published = sorted({base for base in bases if is_hub_id(base)})
    data = manifest.facts.get("data") or {}
    known: dict[str, Any] = dict(manifest.facts.get("license") or {})
    if results:
        known |= {"model_name": manifest.name, "eval_results": list(results)}
    front = ModelCardData(
        library_name=library,
        pipeline_tag=pipeline,
        base_model=(published if several else published[0]) if published else None,
        base_model_relation=relation if published else None,
        datasets=[data["name"]] if data.get("hub") else None,
        tags=["hf_compress", *tags],
        **known,
    )
    return f"---\n{front.to_yaml()}\n---"
