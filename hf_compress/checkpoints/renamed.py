"""A member under the names of another checkpoint of its architecture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hf_compress.checkpoints.source import Source


class RenamedSource(Source):
    """A source whose tensors have other names; nothing is read or copied before it is asked for.

    Attributes:
        source: what is wrapped.
        names: name shown -> name in it.
    """

    def __init__(self, source: Source, names: Mapping[str, str], config: dict[str, Any]) -> None:
        """Args:
        source: what is wrapped.
        names: name shown -> name in the source; several may show one tensor, and what is not named is not shown.
        config: the source's config.json as the result's class wants it.
        """
        self.label, self.place, self.config = source.label, source.place, config
        self.source, self.names = source, dict(names)
        self.infos = {name: source.infos[names[name]] for name in sorted(names)}

    def read(self, name: str) -> Tensor:
        """The tensor behind the name."""
        return self.source.read(self.names[name])

    def files(self) -> list[Path]:
        """The weight files behind it; sorted."""
        return self.source.files()
