import ast
import dataclasses
import typing
from pathlib import Path

import pytest

from hf_compress._errors import CompressionError
from hf_compress.merging.compat import TABLE, Compat, Differences, differences
from hf_compress.merging.method import MergeMethod

ROOT = Path(__file__).parents[2]
LIBRARIES = set(TABLE) - {"paper"}
NAMES = [field.name for field in dataclasses.fields(Differences)]


def trees():
    """The package's files that know no library: all but the table and the reader of mergekit's own."""
    for file in sorted((ROOT / "hf_compress").rglob("*.py")):
        if "mergekit" not in file.relative_to(ROOT).parts and file.name != "compat.py":
            yield file, ast.parse(file.read_text())


def test_every_value_has_a_row_the_paper_has_no_difference_and_every_difference_is_somebodys():
    assert set(TABLE) == set(typing.get_args(Compat))
    assert differences("paper") == Differences()
    assert [name for name in NAMES if not any(getattr(TABLE[library], name) for library in LIBRARIES)] == []
    assert all(f"        {name}: " in Differences.__doc__ for name in NAMES), "a difference without a description"


def test_every_difference_is_asked_for_and_no_code_asks_for_a_library():
    asked, libraries = set(), []
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                asked.add(node.attr)
            if isinstance(node, ast.Compare):
                named = {part.value for part in (node.left, *node.comparators) if isinstance(part, ast.Constant)}
                libraries += [f"{file}:{node.lineno}" for _ in named & LIBRARIES]
    assert [name for name in NAMES if name not in asked] == []
    assert libraries == []


def test_what_a_row_lacks_is_a_method_and_refused():
    for library, row in TABLE.items():
        for name in row.lacks:
            with pytest.raises(CompressionError, match=f"{library} has no {name}; set compat to paper or mergekit"):
                MergeMethod.available()[name](compat=library)


def test_the_pages_say_of_every_method_whether_compat_changes_it():
    changed, listed = set(), set()
    for page in ("methods.md", "methods-sparse.md"):
        table = (ROOT / "docs" / "merging" / page).read_text(encoding="utf-8").split("\n| method | ")[1].split("\n\n")[0]
        for line in table.splitlines()[2:]:
            name, *_, difference = line.strip("| ").split(" | ")
            listed.add(name.strip("`"))
            changed |= {name.strip("`")} if difference not in ("nothing", "not in mergekit") else set()
    methods = MergeMethod.available()
    assert changed == {name for name in listed if hasattr(methods[name], "compat")}
    assert {name for name, cls in methods.items() if hasattr(cls, "compat")} <= listed
