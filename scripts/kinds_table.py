"""Writes the table of docs/adding-a-method.md: every kind of strategy, and what one has to say.

python scripts/kinds_table.py           # `make style` does it
python scripts/kinds_table.py --check   # exit code 1 where the table is not what it would be

Nothing in it is written a second time: what a kind is comes from its base class's docstring, what to write from the class
variables without a value and the methods that only refuse, and the page from the docstring of its package.
"""

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import hf_compress
from hf_compress._registry import Strategy

PAGE = Path(__file__).parents[1] / "docs" / "adding-a-method.md"
BEGIN, END = "<!-- Written by scripts/kinds_table.py. -->\n", "<!-- Until here. -->\n"
HEAD = "| kind | what one does | base class | where | what to write | page |\n|---|---|---|---|---|---|\n"


def kinds() -> list[type[Strategy]]:
    """Every kind there is, by name."""
    for module in pkgutil.walk_packages(hf_compress.__path__, "hf_compress."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted((cls for cls in Strategy.__subclasses__() if "_registry" in vars(cls)), key=lambda cls: cls.kind)


def table() -> str:
    """A row for each kind."""
    return HEAD + "".join(map(_row, kinds()))


def _row(kind: type[Strategy]) -> str:
    # What stands beside a kind without a name of its own is a contract to derive from, such as RowLoss.
    beside = [cls for cls in kind.__subclasses__() if cls.__module__ == kind.__module__ and "name" not in vars(cls)]
    contracts = beside or [kind]
    summary = re.split(r"[;.]", kind.__doc__ or "")[0]
    write = "; ".join((f"`{cls.__name__}`: " if beside else "") + ", ".join(_to_write(kind, cls)) for cls in contracts)
    bases = ", ".join(f"`{cls.__name__}`" for cls in contracts)
    folder = kind._package.replace(".", "/")
    found = re.search(r"docs/([\w/-]+\.md)", importlib.import_module(kind._package).__doc__ or "")
    page = found.group(1) if found else ""
    link = "this one" if page == PAGE.name else f"[{page}]({page})"
    home = f"{kind.__module__.replace('.', '/')}.py"
    return f"| {kind.kind} | {summary} | {bases} in `{home}` | `{folder}/` | {write} | {link} |\n"


def _to_write(kind: type[Strategy], cls: type[Strategy]) -> list[str]:
    """Class variables that have no value yet, and methods that do nothing but refuse."""
    bases = [base for base in reversed(cls.__mro__) if issubclass(base, kind)]
    names = dict.fromkeys(name for base in bases for name in inspect.get_annotations(base))
    values = [f"`{name}`" for name in names if not hasattr(cls, name)]
    methods = [
        f"`{name}({', '.join(list(inspect.signature(method).parameters)[1:])})`"
        for name, method in inspect.getmembers(cls, inspect.isfunction)
        if any("defines no" in text for text in method.__code__.co_consts if isinstance(text, str))
    ]
    return values + methods


def written(text: str) -> str:
    """The page with the table as it would be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv:
        sys.exit(written(page) != page)
    PAGE.write_text(written(page), encoding="utf-8")
