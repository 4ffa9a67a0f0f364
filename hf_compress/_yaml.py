"""YAML out, such that a recipe comes back as it was."""

import re
from typing import Any

import yaml

FLOAT = (
    "tag:yaml.org,2002:float",
    re.compile(r"(?:[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"),
    list("-+.0123456789"),
)
"""What recipes read as a number, 1e-5 included; PyYAML reads that as text and writes the text without quotes."""


class _Dumper(yaml.SafeDumper):
    """SafeDumper that also quotes the text `1e-5`."""


_Dumper.add_implicit_resolver(*FLOAT)


def write_yaml(data: Any, width: int = 110) -> str:
    """YAML text in the order of the data.

    Args:
        data: plain data.
        width: longer lines are folded.
    """
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
