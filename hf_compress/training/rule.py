"""One thing that does not go with another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hf_compress.training.compression import Compression


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One pair that does not go together.

    Attributes:
        name: short, for the documentation table.
        applies: True when a fully initialised Trainer and its compression are the pair.
        message: the sentence: what, why, way out; `{host}` and `{model}` are the classes of both.
    """

    name: str
    applies: Callable[[Any, Compression], bool]
    message: str
