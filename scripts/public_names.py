"""Writes hf_compress/__init__.pyi, in which type checkers and editors find the public names.

python scripts/public_names.py           # `make style` does it
python scripts/public_names.py --check   # exit code 1 where the file is not what it would be
"""

import sys
from pathlib import Path

import hf_compress
from hf_compress._public import homes

STUB = Path(hf_compress.__file__).with_suffix(".pyi")


def stub() -> str:
    """The file's text: one name a line, as what is imported to be exported is written."""
    lines = sorted((home, name) for name, home in homes().items())
    imports = "".join(f"from {home} import {name} as {name}\n" for home, name in lines)
    return f"# Written by scripts/public_names.py.\n\n{imports}\n__version__: str\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(STUB.read_text(encoding="utf-8") != stub())
    STUB.write_text(stub(), encoding="utf-8")
