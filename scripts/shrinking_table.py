"""Writes the table of docs/shrinking.md: every architecture, what of a tiny model of it goes, and what that saves.

python scripts/shrinking_table.py           # the page is written where its table is not what it would be

The models are those of tests/contracts/test_shrinking_hidden.py, which holds each against the one with zeros, loads it with
transformers alone, and fails where the page has another table.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "shrinking.md"
BEGIN, END = "<!-- Written by scripts/shrinking_table.py. -->\n", "<!-- Until here. -->\n"
HEAD = "| model type | layers | heads | units | channels | parameters | bytes | MACs |\n|---|---|---|---|---|---|---|---|\n"


def table(choices: dict[str, Any]) -> str:
    """A row for each model type and what was chosen of its tiny model."""
    return HEAD + "".join(_row(name, choice) for name, choice in sorted(choices.items()))


def _row(name: str, choice: Any) -> str:
    stacks = list(zip(choice.made_for.stacks, choice.kept.stacks, strict=True))
    layers = [f"{len(kept.layers)} of {own.layers}" for own, kept in stacks]
    heads = [
        "all" if kept.groups is None else f"{len(kept.groups[0]) * own.per_group} of {own.heads}" for own, kept in stacks
    ]
    units = [_units(own, kept) for own, kept in stacks]
    counts = [" + ".join(dict.fromkeys(part)) if len(set(part)) > 1 else part[0] for part in (layers, heads, units)]
    hidden, kept = choice.made_for.hidden, choice.kept.channels
    channels = "all" if kept is None else f"{len(kept)} of {hidden}"
    sizes = [
        f"{getattr(choice.before, what):,} -> {getattr(choice.after, what):,}"
        for what in ("parameters", "parameter_bytes", "macs")
    ]
    return f"| `{name}` | {' | '.join([*counts, channels, *sizes])} |\n"


def _units(own: Any, kept: Any) -> str:
    if kept.expert_units is not None:
        experts = own.experts if kept.experts is None else len(kept.experts[0])
        return f"{len(kept.expert_units[0][0])} of {own.units} of each of {experts} experts (of {own.experts})"
    return "all" if kept.units is None else f"{len(kept.units[0])} of {own.units}"


def written(text: str, choices: dict[str, Any]) -> str:
    """The page with the table as it would be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(choices) + END + after


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests.contracts.test_shrinking_hidden import ALL, smallest

    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(written(text, {row.name: smallest(row)[1] for row in ALL}), encoding="utf-8")
