"""Each published card is what its manifest renders to."""

from pathlib import Path

import pytest

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.ensembled import report_of
from hf_compress.evaluation.report import findings
from hf_compress.export.card.render import render_card

CARDS = sorted(path.parent for path in (Path(__file__).parents[1] / "model_cards").glob("*/compression.json"))


def test_there_are_cards():
    assert CARDS


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_card_is_rendered_from_its_manifest(folder):
    manifest = Manifest.read(folder)
    report = manifest.facts.get("report")
    rendered = render_card(manifest, "" if report is None else findings(report_of(report)))
    assert rendered == (folder / "README.md").read_text()
