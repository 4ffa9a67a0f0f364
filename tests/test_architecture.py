"""Floors, circles, file sizes and forbidden words, read from the source with ast."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_compress"
FILES = sorted(PACKAGE.rglob("*.py"))
LONG: dict[str, str] = {}
"""Modules that may pass 300 lines, with the reason."""

MATERIALS = ("checkpoints", "inputs", "tasks", "calibration")
"""In this order: each may import those before it."""
TECHNIQUES = ("pruning", "quantization", "distillation", "merging", "ensembling")
HOSTS = ("training", "evaluation", "export")
VALUES = {
    "calibration": ("statistic", "statistics"),
    "pruning": ("criterion", "criteria", "pattern", "patterns", "schedule", "schedules", "allocation", "allocations"),
    "quantization": ("scheme", "schemes", "fake_quantize", "quantizable", "modules"),
    "distillation": ("loss", "losses", "signal"),
    "merging": ("compat", "method", "methods", "operands", "mathematics"),
    "ensembling": ("combiner", "combiners", "confidence", "confidences", "modelling"),
}
FLOORS = (
    dict.fromkeys(("_errors", "_registry", "_modules", "_forward", "_sharding", "_hub"), (0, ""))
    | {"recipe": (1, ""), "architectures": (1, "")}
    | {f"{technique}.{name}": (1, "") for technique, names in VALUES.items() for name in names}
    | {name: (2 + place / 10, "") for place, name in enumerate(MATERIALS)}
    | {name: (3, name) for name in TECHNIQUES}
    | {name: (4, name) for name in HOSTS}
    | {"jobs": (5, "")}
    | {"cli_session": (6, ""), "cli_results": (6, ""), "cli": (6, ""), "__main__": (6, "")}
)
"""Folder or module -> its floor, and the room on it: two rooms of one floor do not import each other.

The table of docs/design.md, which says what the floors are. A name with an underscore at the top is floor 0, and may be a
module or one of its folders; anything else that is not here fails."""
FACE = "hf_compress"
"""The package itself: it names everything public, for users, and no module of its own imports it."""


def place(module):
    """Floor and room of a dotted module name; fails for what the table does not know."""
    parts = module.split(".")[1:]
    if ".".join(parts[:2]) in FLOORS:
        return FLOORS[".".join(parts[:2])]
    if parts[0].startswith("_") and (len(parts) == 1 or parts[0] in FLOORS):
        return FLOORS.get(parts[0], (0, ""))
    assert parts[0] in FLOORS, f"{module} is in no folder of the table of floors in {Path(__file__).name}"
    floor, room = FLOORS[parts[0]]
    if parts[0] == "jobs" and len(parts) > 1:
        room = parts[1]
    return floor, room


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports(file):
    """Dotted names of our own modules that a file imports: at the top, in functions, and for annotations."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            if node.module and node.module.split(".")[0] == "hf_compress":
                for alias in node.names:
                    below = f"{node.module}.{alias.name}"
                    found.add(below if (ROOT / below.replace(".", "/")).with_suffix(".py").exists() else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "hf_compress"}
    return frozenset(found)


def wrong_imports(file):
    """What a file imports from above, or from another room of its floor."""
    own = name_of(file)
    if own == FACE:
        return
    if FACE in imports(file):
        yield f"{own} imports a public name from {FACE}; import it from its home"
    floor, room = place(own)
    for other in sorted(imports(file) - {FACE}):
        other_floor, other_room = place(other)
        if other_floor > floor:
            yield f"{own} (floor {floor}) imports {other} (floor {other_floor})"
        elif other_floor == floor and room and other_room and room != other_room:
            yield f"{own} imports another room of its floor, {other}"


def test_every_folder_has_a_floor_and_imports_point_down_only():
    assert [problem for file in FILES for problem in wrong_imports(file)] == []


def test_there_is_no_circle_of_imports():
    # All of them count: one that runs late still says that two rooms cannot be understood apart.
    graph = {name_of(file): imports(file) for file in FILES if name_of(file) != FACE}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_the_folders_of_merging_import_in_one_direction():
    order = (
        ("compat", "operands"),
        ("method",),
        ("mathematics",),
        ("methods",),
        ("configuration",),
        ("advice",),
        ("members",),
        ("plan", "lora"),
        ("engine",),
        ("search", "mergekit"),
    )
    rank = {name: place for place, names in enumerate(order) for name in names}
    wrong = []
    for file in sorted((PACKAGE / "merging").rglob("*.py")):
        own = name_of(file).split(".")[2:3]
        for other in imports(file):
            parts = other.split(".")
            if own and parts[1] == "merging" and len(parts) > 2 and parts[2] != own[0] and rank[parts[2]] >= rank[own[0]]:
                wrong.append(f"{name_of(file)} imports {other}")
    assert wrong == []


def test_no_module_is_over_300_lines_without_a_reason():
    long = {str(file.relative_to(PACKAGE)) for file in FILES if len(file.read_text().splitlines()) > 300}
    assert long <= set(LONG), long - set(LONG)


def forbidden(file):
    """Words that do not belong into the source, with their lines."""
    for node in ast.walk(ast.parse(file.read_text())):
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in ("eval", "exec") or (called == "print" and file.name != "cli.py"):
            yield f"{name_of(file)}:{node.lineno}: {called}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            if {"pickle", "dill"} & {name.split(".")[0] for name in names}:
                yield f"{name_of(file)}:{node.lineno}: pickle"
        if isinstance(node, ast.Name) and node.id == "NotImplementedError":
            yield f"{name_of(file)}:{node.lineno}: NotImplementedError"


def test_what_another_library_says_is_put_into_one_line_by_one_function():
    by_hand = re.compile(r"join\(str\(\w+\)\.split\(\)\)")
    assert [name_of(file) for file in FILES if by_hand.search(file.read_text())] == ["hf_compress._errors"]


def test_forbidden_words_do_not_stand_in_the_source():
    assert [word for file in FILES for word in forbidden(file)] == []


def kinds():
    """Every kind of strategy there is."""
    from hf_compress._registry import Strategy

    for file in FILES:
        if ", kind=" in file.read_text():
            __import__(name_of(file))
    return [kind for kind in Strategy.__subclasses__() if "_registry" in vars(kind)]


def test_every_strategy_has_a_test_of_its_own():
    missing = []
    for kind in kinds():
        for strategy in kind.available().values():
            parts = strategy.__module__.split(".")[1:]
            mirrored = ROOT.joinpath("tests", *parts[:-1], f"test_{parts[-1]}.py")
            if parts[-1] == "recipe":  # a job that is a folder: its tests are one, too
                mirrored = mirrored.parent
            if strategy.__module__.startswith("hf_compress.") and not mirrored.exists():
                missing.append(str(mirrored.relative_to(ROOT)))
    assert missing == []


def test_importing_the_package_imports_no_torch():
    code = "import sys, hf_compress; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
