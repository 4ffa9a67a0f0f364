"""Rows in which something is wrong, refused by the numbers that the user's data gives them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_compress._errors import CompressionError
from hf_compress.inputs.row_numbers import NUMBER, row_named, source_of

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A row in which something is wrong.

    Attributes:
        position: in its split.
        says: what, with its verb: "has an empty text".
        way_out: what to do.
    """

    position: int
    says: str
    way_out: str


def refuse_rows(splits: Mapping[str, "Dataset"], key: str, find: Callable[["Dataset"], Iterable[Wrong]]) -> None:
    """Refuse rows in which something is wrong: of those with one way out the first, and how many more there are.

    Args:
        splits: raw rows.
        key: what a refusal names, such as "task.text".
        find: those of one split.

    Raises:
        CompressionError: a sentence for every way out, and for everything that was read.
    """
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name, split in splits.items():
        source, wrong = source_of(split.features, name), list(find(split))
        numbers = split.with_format(None)[NUMBER][:] if wrong and NUMBER in split.column_names else None
        for one in wrong:
            number = one.position if numbers is None else numbers[one.position]
            found.setdefault((source, one.way_out), []).append((number, one.says))
    sentences = []
    order = list(dict.fromkeys(source for source, _ in found))
    for (source, way_out), rows in sorted(found.items(), key=lambda item: (order.index(item[0][0]), min(item[1]))):
        number, says = min(rows)
        more = {1: "", 2: " (and 1 more such row)"}.get(len(rows), f" (and {len(rows) - 1} more such rows)")
        sentences.append(f"{key}: {row_named(number, source)} {says}{more}; {way_out}")
    if sentences:
        raise CompressionError("\n".join(sentences))


def empty_rows(rows: Iterable[str | Sequence[str]], what: str) -> Iterator[Wrong]:
    """Rows of a column that is to hold a text, or texts, in each, and has none, or one of nothing but white space.

    Args:
        rows: a text, or several, of each.
        what: they are, such as "text".
    """
    for row, given in enumerate(rows):
        texts = [given] if isinstance(given, str) else given
        if not texts or not all(text.strip() for text in texts):
            yield Wrong(position=row, says=f"has an empty {what}", way_out="remove it")
