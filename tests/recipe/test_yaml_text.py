"""Numbers, words and keys of a recipe file mean what they look like."""

import pytest

from hf_compress._problems import RecipeError
from hf_compress._yaml import write_yaml
from hf_compress.recipe.yaml_text import parse_yaml, read_recipe

READ = {
    "1e-5": 1e-5,
    "2E5": 2e5,
    "1.5": 1.5,
    ".5": 0.5,
    "1.": 1.0,
    "-3": -3,
    "0x1f": 31,
    "010": "010",
    "12:30": "12:30",
    "2024-01-01": "2024-01-01",
    "1.2.3": "1.2.3",
    "0.5-sparse": "0.5-sparse",
    "1e5x": "1e5x",
    "no": "no",
    "on": "on",
    "true": True,
    "truely": "truely",
    "null": None,
    "60%": "60%",
    "": None,
}


@pytest.mark.parametrize("text", READ)
def test_a_value_is_read_as_it_looks(text):
    value = parse_yaml(f"key: {text}", "test")["key"]
    assert value == READ[text] and type(value) is type(READ[text])


@pytest.mark.parametrize(
    "value",
    [
        *READ,
        "5",
        ".inf",
        "~",
        "a: b",
        "#x",
        "- x",
        "*a",
        "ä",
        "two\nlines",
        1e-5,
        1e20,
        0.1,
        -2.5e-8,
        3,
        True,
        None,
        [1, {"a": None}],
    ],
)
def test_what_is_written_is_read_back(value):
    back = parse_yaml(write_yaml({"key": value}), "test")["key"]
    assert back == value and type(back) is type(value)


def test_anchors_and_merge_keys_work():
    text = "base: &base {x: 1, y: 2}\nother: &other {z: 3}\nboth: {<<: *base, y: 5}\nall: {<<: [*base, *other]}\n"
    data = parse_yaml(text, "test")
    assert data["both"] == {"x": 1, "y": 5}
    assert data["all"] == {"x": 1, "y": 2, "z": 3}


def test_an_override_changes_a_value_a_list_item_and_a_bare_name(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("pruning: {criterion: magnitude, schedule: cubic}\ndistillation: {losses: [{weight: 0.5}]}\n")
    overrides = [
        "training.learning_rate=1e-4",
        "pruning.schedule.final=0.7",
        "distillation.losses.0.weight=0.9",
        "data={path: a=b}",
        "dense=null",
    ]
    assert read_recipe(file, overrides) == {
        "pruning": {"criterion": "magnitude", "schedule": {"name": "cubic", "final": 0.7}},
        "distillation": {"losses": [{"weight": 0.9}]},
        "training": {"learning_rate": 1e-4},
        "data": {"path": "a=b"},
        "dense": None,
    }


REFUSED = {
    "deep": ("x: " + "[" * 3000, r"nested more than 100 levels deep \(line 1"),
    "deep and whole": ("x: " + "[" * 500 + "]" * 500, "nested more than 100 levels"),
    "deep mapping": ("\n".join(" " * level + "a:" for level in range(150)), "nested more than 100 levels"),
    "no int": ("x: !!int abc", r"'abc' is not a valid whole number \(line 1"),
    "empty int": ("x: !!int", "'' is not a valid whole number"),
    "no float": ("x: !!float abc", "'abc' is not a valid number"),
    "no bool": ("x: !!bool abc", "'abc' is not a valid boolean"),
    "no mapping": ("x: !!map abc", "'abc' is not a valid tag:yaml.org,2002:map"),
    "a date": ("x: !!timestamp 2024-01-01", "could not determine a constructor for the tag"),
    "bytes": ("x: !!binary Ynl0ZXM=", "could not determine a constructor for the tag"),
    "a set": ("x: !!set {a, b}", "could not determine a constructor for the tag"),
    "an object": ("x: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
    "many digits": ("x: " + "9" * 5000, "99999999... has 5000 digits, more than any setting"),
    "many digits in hex": ("x: 0x" + "f" * 6000, "0xffffff... has 6002 digits"),
    "a bomb": (
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 13)),
        "its aliases unfold to more than 100000 values",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_setting_is_one_sentence(case):
    text, expected = REFUSED[case]
    with pytest.raises(RecipeError, match=expected) as refusal:
        parse_yaml(text, "test")
    assert len(refusal.value.problems) == 1 and len(str(refusal.value)) < 300


def test_a_file_that_is_too_long_for_a_recipe_is_not_read(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("- x\n" * 300_000)
    with pytest.raises(RecipeError, match="has 1.20 MB, so it is not a recipe"):
        read_recipe(file)


def test_a_recursive_anchor_is_refused():
    with pytest.raises(RecipeError, match=r"test is not valid YAML: found unconstructable recursive node \(line 1"):
        parse_yaml("a: &a [*a]", "test")
