"""Which of a data set's own names are its splits."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from hf_compress._errors import CompressionError
from hf_compress._problems import and_more

logger = logging.getLogger(__name__)

_ALIASES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def assign(names: Iterable[str], wanted: Mapping[str, str], path: str, whole: bool = False) -> dict[str, list[str]]:
    """Which names belong to `train`, `validation` and `test`; what the recipe says wins.

    Args:
        names: as the data has them.
        wanted: `data.splits`.
        path: of the data, for refusals.
        whole: a name is a split's only as a whole (`dev`); otherwise by its first word (`dev_small`).

    Raises:
        CompressionError: a name that the recipe wants is not there.
    """
    names = list(dict.fromkeys(names))
    for split, name in wanted.items():
        if name not in names:
            raise CompressionError(
                f"data.splits: {path} has no split {name!r}, which should be {split} (known: {', '.join(names) or 'none'})"
            )
    found = {split: [name] for split, name in wanted.items()}
    free = [name for name in names if name not in wanted.values()]
    for split, aliases in _ALIASES.items():
        mine = [name for name in aliases if name in free][:1] if whole else [name for name in free if _says(name) == split]
        if mine and split not in found:
            found[split] = mine
    return found


def _says(name: str) -> str | None:
    """The split that the first word of a name says."""
    word = re.split("[-_.]", name.lower())[0]
    return next((split for split, aliases in _ALIASES.items() if word in aliases), None)


def says_split(name: str) -> bool:
    """Whether a name says a split by its first word."""
    return _says(name) is not None


def say_unread(path: str, names: Sequence[str]) -> None:
    """A line in the log about what lies beside the splits."""
    if names:
        logger.warning("%s: no split, and not read: %s", path, and_more(names, 5))
