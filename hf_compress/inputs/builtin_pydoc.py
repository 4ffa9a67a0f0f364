"""Real prose that every CPython carries: the language reference in pydoc and the standard library's docstrings."""

import ast
import hashlib
import sys
import sysconfig
from pathlib import Path

from hf_compress._errors import CompressionError

_SHARES = {0: "test", 1: "validation"}
"""Of 20 documents by hash, one goes to test and one to validation."""


def pydoc_documents() -> dict[str, dict[str, str]]:
    """Documents by split, then by name.

    Topics of `pydoc_data.topics` are one document each; of the standard library's modules, all docstrings of one module
    are one document. A docstring that stood in an earlier module is left out, so that no text is in two splits. The split
    follows from a hash of the name and stays the same between Python versions; the text does not.

    Returns:
        {"train": {"topic:if": text, "module:json.decoder": text, ...}, "validation": ..., "test": ...}

    Raises:
        CompressionError: this Python has no source files of the standard library.
    """
    splits: dict[str, dict[str, str]] = {"train": {}, "validation": {}, "test": {}}
    documents = {**_topics(), **_modules()}
    if len(documents) < 100:
        raise CompressionError(
            f"builtin:pydoc found only {len(documents)} documents: this Python was installed without the standard library's"
            " sources; use a regular CPython, or name another data.path"
        )
    for name, text in documents.items():
        bucket = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 20
        splits[_SHARES.get(bucket, "train")][name] = text
    return splits


def _topics() -> dict[str, str]:
    """The language reference's topics, as `help("if")` shows them."""
    from pydoc_data.topics import topics

    return {f"topic:{name}": text.strip() for name, text in sorted(topics.items())}


def _modules() -> dict[str, str]:
    """The docstrings of every standard module, in the order of names."""
    root = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    documents: dict[str, str] = {}
    for file in sorted(_sources(root)):
        parts = [part for part in file.relative_to(root).with_suffix("").parts if part != "__init__"]
        name = ".".join(parts)
        pieces = []
        for title, docstring in _docstrings(file):
            key = " ".join(docstring.split())
            if len(key) >= 40 and key not in seen:
                seen.add(key)
                pieces.append(f"{'.'.join([name, *title])}\n\n{docstring}")
        if pieces:
            documents[f"module:{name}"] = "\n\n".join(pieces)
    return documents


def _sources(root: Path) -> list[Path]:
    """The source files of the modules that belong to the language, tests left out."""
    files: list[Path] = []
    for name in sorted(sys.stdlib_module_names):
        if (root / f"{name}.py").is_file():
            files.append(root / f"{name}.py")
        elif (root / name).is_dir():
            found = (root / name).rglob("*.py")
            files.extend(file for file in found if not {"test", "tests", "idle_test"} & set(file.relative_to(root).parts))
    return files


def _docstrings(file: Path) -> list[tuple[list[str], str]]:
    """(qualified name inside the module, docstring) in source order; nothing is imported or run."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # templates and deliberate syntax errors of the library
        return []
    found: list[tuple[list[str], str]] = []

    def visit(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, title: list[str]) -> None:
        docstring = ast.get_docstring(node)
        if docstring:
            found.append((title, docstring))
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                visit(child, [*title, child.name])

    visit(tree, [])
    return found
