"""Floors, cycles, file sizes and forbidden words, read from the source with ast."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_compress"
FILES = sorted(PACKAGE.rglob("*.py"))
LONG: dict[str, str] = {}
"""Modules that may pass 300 lines, with the reason."""

VALUES = {
    "criterion",
    "criteria",
    "pattern",
    "patterns",
    "schedule",
    "schedules",
    "allocation",
    "allocations",
    "scheme",
    "schemes",
}
VALUES |= {"loss", "losses", "signal"}
VALUES |= {
    "method",
    "methods",
    "operands",
    "gram",
    "sphere",
    "selection",
    "weights",
    "lora_factors",
    "threshold",
    "consensus",
    "sparsified",
}
TECHNIQUES = {"pruning", "quantization", "distillation", "merging", "ensembling"}
HOSTS = {"training", "evaluation", "export"}


def floor(module):
    """The floor of a dotted module name below hf_compress; None for the package itself."""
    parts = module.split(".")[1:]
    if not parts:
        return None
    if parts[0] in ("cli", "__main__"):
        return 5
    if parts[0] == "recipe":
        return 4
    if parts[0] in HOSTS:
        return 3
    if parts[0] in TECHNIQUES:
        if len(parts) > 1 and parts[1] in VALUES:
            return 1
        return 1 if len(parts) == 1 or (parts[1] == "configuration" and parts[0] != "distillation") else 2
    return 0


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file):
    """Dotted names of our own modules that a file imports, annotations-only imports left out."""
    tree = ast.parse(file.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            if node.module and node.module.split(".")[0] == "hf_compress":
                for alias in node.names:
                    below = f"{node.module}.{alias.name}"
                    found.add(below if (ROOT / below.replace(".", "/")).with_suffix(".py").exists() else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "hf_compress"}
    return found


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_down_only(file):
    own = name_of(file)
    level = floor(own)
    for other in imports(file):
        other_level = floor(other)
        if level is None or other_level is None:
            continue  # the package itself holds the version
        assert other_level <= level, f"{own} (floor {level}) imports {other} (floor {other_level})"
        first, second = own.split(".")[1], other.split(".")[1]
        if level == 3 and other_level == 3:
            assert first == second, f"{own} imports another host, {other}"
        if first in TECHNIQUES and second in TECHNIQUES:
            assert first == second, f"{own} imports another technique, {other}"


def test_there_is_no_import_cycle():
    graph = {name_of(file): imports(file) - {"hf_compress"} for file in FILES}
    done, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path, name])
        if name in done:
            return
        path.append(name)
        for other in sorted(graph.get(name, ())):
            visit(other)
        path.pop()
        done.add(name)

    # Imports inside functions run later, so only those at the top of a file can close a circle.
    for file in FILES:
        tree = ast.parse(file.read_text())
        top = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("hf_compress."):
                top.add(node.module)
        graph[name_of(file)] = top
    for name in graph:
        visit(name)


def test_no_module_is_over_300_lines_without_a_reason():
    long = {str(file.relative_to(PACKAGE)) for file in FILES if len(file.read_text().splitlines()) > 300}
    assert long <= set(LONG), long - set(LONG)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_forbidden_words_do_not_stand_in_the_source(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec"), f"{file.name}:{node.lineno}"
            assert node.func.id != "print" or file.name == "cli.py", f"{file.name}:{node.lineno}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill"} & {name.split(".")[0] for name in names}
        if isinstance(node, ast.Name):
            assert node.id != "NotImplementedError", f"{file.name}:{node.lineno}"


STRATEGIES = [
    file
    for folder in ("pruning/criteria", "pruning/patterns", "pruning/schedules", "pruning/allocations")
    + ("quantization/schemes", "distillation/losses", "distillation/teachers", "merging/methods")
    for file in sorted((PACKAGE / folder).glob("[!_]*.py"))
]


@pytest.mark.parametrize("file", STRATEGIES, ids=name_of)
def test_every_strategy_has_a_test_of_its_own(file):
    mirrored = ROOT / "tests" / file.relative_to(PACKAGE).parent / f"test_{file.stem}.py"
    assert mirrored.exists(), mirrored


def test_public_names_resolve_and_are_what_type_checkers_see():
    import hf_compress

    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    checked = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == hf_compress._HOMES
    for name in hf_compress._HOMES:
        assert getattr(hf_compress, name).__name__ == name


def test_importing_the_package_imports_no_torch():
    code = "import sys, hf_compress; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
