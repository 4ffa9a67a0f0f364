"""The pieces of a card, by hand."""

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.sections import bullets, loading_code, made, minded, named, recipe, section


def test_a_section_is_a_heading_and_its_blocks():
    assert section("Use", "one", "two") == "## Use\n\none\n\ntwo"
    assert bullets({"seed": 42, "data": "d: e"}) == "- seed: 42\n- data: d: e"


def test_a_method_is_named_with_its_source_where_it_has_one():
    assert named({"name": "ties", "reference": "Yadav (2023)"}) == "`ties` (Yadav (2023))"
    assert named({"name": "W4A16", "reference": None}) == "`W4A16`"


def test_loading_code_imports_what_it_calls():
    code = loading_code({"model": "BertModel", "processor": "AutoTokenizer"})
    assert code.splitlines()[1:5] == [
        "from transformers import BertModel, AutoTokenizer",
        "",
        'model = BertModel.from_pretrained("<this repository or folder>")',
        'processor = AutoTokenizer.from_pretrained("<this repository or folder>")',
    ]
    in_order = loading_code({"model": "BertModel", "processor": "AutoTokenizer"}, alphabetical=True)
    assert "import AutoTokenizer, BertModel\n" in in_order
    assert "processor" not in loading_code({"model": "BertModel", "processor": None})


def test_nothing_to_mind_is_no_line():
    assert list(minded(None)) == list(minded("")) == []
    assert list(minded("call it once")) == ["Mind: call it once."]


def test_when_and_how_come_from_the_manifest():
    given = Manifest(kind="train", recipe={"job": "train"}, created="2026-01-02", versions={"python": "3.11", "torch": "2"})
    assert made(given) == "Made on 2026-01-02 with python 3.11, torch 2."
    assert recipe(given) == "## Recipe\n\n```yaml\njob: train\n```"
