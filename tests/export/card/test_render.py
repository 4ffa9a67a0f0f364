"""Cards by the kind of their manifest; that published ones render to the same bytes says tests/test_model_cards.py."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_compress import CompressionError
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.render import render_card

OPTIONAL = {"data", "files", "license", "tolerance", "weights"}
"""Facts that manifests of older versions do not have."""
UNMEASURED = {"ensemble": {"report"}}
"""Kind -> facts that only those have that were measured."""
CARDS = sorted((Path(__file__).parents[3] / "model_cards").iterdir())


def test_a_kind_without_a_card_is_refused_by_name():
    with pytest.raises(
        CompressionError,
        match=r"unknown kind of result for a card 'checkpoint' \(known: ensemble, extract-adapter, merge, merge-adapters",
    ):
        render_card(Manifest(kind="checkpoint", recipe={}))


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_every_fact_that_a_card_says_is_asked_for_in_one_sentence(folder):
    whole = Manifest.read(folder)
    for name in whole.facts.keys() - OPTIONAL - UNMEASURED.get(whole.kind, set()):
        facts = {key: value for key, value in whole.facts.items() if key != name}
        lacking = Manifest(kind=whole.kind, name=whole.name, recipe=whole.recipe, facts=facts)
        with pytest.raises(CompressionError, match=f"says nothing of '{name}'; export the model again"):
            render_card(lacking, "| table |")


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_a_card_is_read_by_the_hub_and_ends_with_its_recipe(folder):
    manifest = Manifest.read(folder)
    text = render_card(manifest, "| table |")
    assert ModelCard(text).data.tags[0] == "hf_compress"
    assert text.split("# ", 1)[1].startswith((f"{manifest.name}\n\nA ", f"{manifest.name}\n\nAn "))
    assert text.endswith("```\n") and re.search("\n\n## Recipe\n\n(Names .*\n\n)?```yaml\n", text)
    assert json.loads((folder / "compression.json").read_text())["created"] in text
