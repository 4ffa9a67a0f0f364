"""The pieces of a card, by hand."""

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.sections import (
    bullets,
    files,
    licence,
    loading_code,
    made,
    method_line,
    minded,
    named,
    place_name,
    recipe,
    section,
    serving,
)


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


def test_a_method_is_a_sentence_with_its_source():
    method = {"kind": "criterion", "name": "magnitude", "summary": "Small weights go.", "reference": "Han (2015)"}
    assert method_line(method) == "- criterion `magnitude`: Small weights go. (Han (2015))"
    scheme = {"kind": "scheme", "name": "W4A16", "reference": None}
    assert method_line(scheme) == "- scheme `W4A16`"
    options = {"options": {"name": "W4A16", "group_size": 64}}
    assert method_line({**scheme, **options}) == "- scheme `W4A16` (group_size 64)"


def test_what_is_local_is_a_name_and_the_recipe_says_so():
    assert place_name("./bert") == "`bert`, a local folder" and place_name("someone/bert") == "`someone/bert`"
    assert "Names that begin with `./` are" in recipe(Manifest(kind="train", recipe={"model": "./bert"}))
    assert "Names that begin" not in recipe(Manifest(kind="train", recipe={"model": "someone/bert"}))


def test_text_is_served_by_what_reads_the_format():
    assert serving("text-classification", True) == [] and serving(None, True) == []
    (both,), (one,) = serving("text-generation", True), serving("text-generation", False)
    assert "transformers serve" in both and "\nvllm serve" in both and "was not tried" in both
    assert "vllm serve" not in one and "vLLM does not read this format" in one


def test_hashes_and_the_licence_stand_where_the_manifest_has_them():
    old = Manifest(kind="train", recipe={})
    assert files(old) == licence(old) == []
    known = {"license": "other", "license_name": "mine", "license_link": "LICENSE"}
    new = Manifest(kind="train", recipe={}, facts={"files": {"model.safetensors": "ab12"}, "license": known})
    assert files(new) == ["## Files\n\n| file | SHA-256 |\n| --- | --- |\n| `model.safetensors` | `ab12` |"]
    assert licence(new) == ["## License\n\nThat of what it was made from: [mine](LICENSE)."]
    assert licence(Manifest(kind="train", recipe={}, facts={"license": {}}))[0].startswith("## License\n\nNot known:")
