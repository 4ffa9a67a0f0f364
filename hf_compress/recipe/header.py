"""The comment at the top of a recipe file, which says what the recipe needs and how to get it."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from hf_compress._errors import CompressionError

NEEDS = "# Needs:"
_MISSING = re.compile(r"there is no (file or )?folder|is not a local (file or )?folder")


def header_of(file: str | Path) -> str:
    """The comment lines before the first key; "" for a file that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        text = Path(file).read_text(encoding="utf-8")
        return "".join(f"{line}\n" for line in re.split(r"^[^#\n]", text, maxsplit=1, flags=re.M)[0].splitlines())
    return ""


@contextlib.contextmanager
def pointing_to_header(file: str | Path) -> Iterator[None]:
    """A refusal of data or a model that is not there says where in the file stands how to get it, if that stands there."""
    try:
        yield
    except CompressionError as error:
        if NEEDS not in header_of(file):
            raise
        hint = f"; see `{NEEDS}` at the top of {file}"
        lines = [line + hint if _MISSING.search(line) else line for line in str(error).splitlines()]
        raise CompressionError("\n".join(lines)) from error
