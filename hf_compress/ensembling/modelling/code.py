"""The code beside a saved ensemble: these files as one, for machines without this package."""

import ast
import functools
from pathlib import Path

CODE_FILE = "modeling_ensemble.py"
PACKAGE = "hf_compress"
_ENSEMBLING = Path(__file__).parents[1]
_REPLACED = ("Combiner", "Confidence")
"""Classes that the beginning of the file brings in a form that needs no registry of the package."""
_SHARED = (Path("_modules", "heard_loss.py"),)
"""Files from elsewhere in the package that come along; like the others they import nothing of it but these."""
_NOT_IN_IT = ("__init__", "code", "models", "standalone")


@functools.cache
def code_text() -> str:
    """One module that has every class an ensemble needs and imports nothing of this package."""
    imports: list[str] = []
    bodies: list[str] = []
    for path in (_ENSEMBLING / "modelling" / "standalone.py", *_in_order()):
        lines = path.read_text(encoding="utf-8").splitlines()
        tree = ast.parse("\n".join(lines))
        dropped: set[int] = set()
        for place, node in enumerate(tree.body):
            span = range(_first_line(node), (node.end_lineno or node.lineno) + 1)
            if isinstance(node, ast.Import | ast.ImportFrom):
                dropped |= set(span)
                if not _is_ours(node):
                    imports.append(ast.unparse(node))
            elif (place == 0 and isinstance(node, ast.Expr)) or (
                path.stem != "standalone" and isinstance(node, ast.ClassDef) and node.name in _REPLACED
            ):
                dropped |= set(span)
        bodies.append("\n".join(line for number, line in enumerate(lines, start=1) if number not in dropped).strip())
    head = (
        f'"""An ensemble of models, loaded without the package that wrote it: {PACKAGE}, Apache-2.0."""\n\n# ruff: noqa\n\n'
    )
    return head + "\n".join(_joined(imports)) + "\n\n\n" + "\n\n\n".join(body for body in bodies if body) + "\n"


def _in_order() -> list[Path]:
    """The files, each after those that it imports from."""
    files = {
        f"{PACKAGE}.ensembling.{'.'.join(path.relative_to(_ENSEMBLING).with_suffix('').parts)}": path
        for folder in ("", "combiners", "confidences", "modelling")
        for path in sorted((_ENSEMBLING / folder).glob("*.py"))
        if path.stem not in _NOT_IN_IT and (folder or path.stem in ("combiner", "confidence"))
    }
    files |= {f"{PACKAGE}.{'.'.join(path.with_suffix('').parts)}": _ENSEMBLING.parent / path for path in _SHARED}
    done: list[str] = []

    def visit(name: str) -> None:
        if name in done or name not in files:
            return
        for node in ast.walk(ast.parse(files[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in files and node.module != name:
                visit(node.module)
        done.append(name)

    for name in files:
        visit(name)
    return [files[name] for name in done]


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *[one.lineno for one in getattr(node, "decorator_list", ())]])


def _is_ours(node: ast.Import | ast.ImportFrom) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return any(name.split(".")[0] == PACKAGE for name in names)


def _joined(imports: list[str]) -> list[str]:
    """Imports of several files, each name once, sorted."""
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    for line in imports:
        node = ast.parse(line).body[0]
        if isinstance(node, ast.Import):
            plain.add(line)
        elif isinstance(node, ast.ImportFrom):
            named.setdefault(node.module or "", set()).update(ast.unparse(alias) for alias in node.names)
    return [
        *sorted(plain),
        *[f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(named.items())],
    ]
