"""YAML that knows its lines."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.merging.mergekit.nodes import read_nodes


def test_a_value_knows_the_line_of_its_key_or_of_itself():
    root = read_nodes("a: 1\nb:\n  - x\n  -\n    c: 2\n", "file")
    top = root.mapping("file")
    assert (top["a"].line, top["b"].line) == (1, 2)
    first, second = top["b"].items("b")
    assert (first.line, second.mapping("entry")["c"].line) == (3, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("2E3", 2000.0),
        ("1.5e+2", 150.0),
        ("1e5x", "1e5x"),
        ("0.5", 0.5),
        ("yes", True),
        ("~", None),
        ("'1e-5'", "1e-5"),
    ],
)
def test_scalars_are_yaml_1_1_and_exponents_are_numbers(text, value):
    found = read_nodes(f"a: {text}", "file").mapping("file")["a"].value
    assert found == value and type(found) is type(value)


def test_a_merge_key_fills_in_what_the_mapping_does_not_say():
    text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n"
    b = read_nodes(text, "file").mapping("file")["b"].mapping("b")
    assert {key: node.value for key, node in b.items()} == {"x": 1, "y": 3}


@pytest.mark.parametrize("text", ["{1: 2, [a]: 3}", "a: !!python/object:os.system {}", "a: 1\na: 2", "\tb: 1"])
def test_what_is_no_plain_data_is_refused_with_its_line(text):
    with pytest.raises(CompressionError, match="file, line [12]: not valid YAML"):
        read_nodes(text, "file")


def test_aliases_cannot_grow_without_end():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(CompressionError, match="unfold to more than 100000 values"):
        read_nodes("\n".join(lines), "file")


@pytest.mark.parametrize(("value", "truth"), [("true", True), ("0", False), ("1.0", True), ("'no'", False), ("ON", True)])
def test_booleans_have_many_spellings(value, truth):
    assert read_nodes(f"a: {value}", "file").mapping("file")["a"].truth("a") is truth


def test_a_mapping_with_a_merge_key_may_be_used_again():
    tree = read_nodes("a: &a {x: 1, y: 2}\nb: {<<: &b {<<: *a, y: 3}}\nc: *b\nd: *b", "f").value
    assert [{key: node.value for key, node in tree[name].value.items()} for name in "bcd"] == [{"x": 1, "y": 3}] * 3


@pytest.mark.parametrize("text", ["a: 2024-13-45", "a: \0"])
def test_what_yaml_cannot_read_is_refused(text):
    with pytest.raises(CompressionError, match="f.* not valid YAML"):
        read_nodes(text, "f")
