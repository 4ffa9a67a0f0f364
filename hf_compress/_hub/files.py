"""What is to lie in a repository, against what lies there."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress._digests import digest_of
from hf_compress._hub.destination import Destination


@dataclass(frozen=True, kw_only=True)
class Files:
    """What is to lie there.

    Attributes:
        contents: path in the repository -> file, or the bytes themselves.
        is_ours: whether a file of an earlier version goes, where `contents` has none of its name.
        sha256: path -> SHA-256, of those that are known.
    """

    contents: Mapping[str, Path | bytes]
    is_ours: Callable[[str], bool]
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def gone(self, there: Destination) -> list[str]:
        """What an earlier version has left."""
        return sorted(path for path in there.files if path not in self.contents and self.is_ours(path))

    def lie_in(self, there: Destination) -> bool:
        """Whether the branch holds just these files, to the byte."""
        return not self.gone(there) and all(self._is_there(path, there) for path in self.contents)

    def _is_there(self, path: str, there: Destination) -> bool:
        known = there.files.get(path)
        if known is None:
            return False
        content = self.contents[path]
        if known.sha256 is not None:
            return known.sha256 == (self.sha256.get(path) or _digest(content, hashlib.sha256()))
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        return known.blob == _digest(content, hashlib.sha1(b"blob %d\0" % size))  # as git names a file


def _digest(content: Path | bytes, digest: Any) -> str:
    """The hexadecimal digest of a content, after what the digest has seen already."""
    if isinstance(content, Path):
        return digest_of(content, digest)
    digest.update(content)
    return str(digest.hexdigest())
