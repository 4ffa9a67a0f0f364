"""Where a result is published, as a recipe, the command line and Python say it."""

import dataclasses
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds

MAIN = "main"
_REFERENCE = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$))[\w][\w.+/-]*(?<![./])")
"""What git and the Hub take as the name of a branch or a tag."""


@dataclass(frozen=True, kw_only=True)
class Publication(metaclass=CheckedKinds):
    """A repository of the Hub and how a folder goes there; without `repo_id` nothing is published.

    Attributes:
        repo_id: `owner/name`, or `name` for one of the token's owner. Made where it is missing.
        private: whether only its owners see a repository that is made; by default what the Hub does (public, unless an
            organization says otherwise). One that is there must be so already where this says it is to be private.
        revision: the branch; made from `main` where it is missing. By default `main`.
        create_pr: open a pull request and leave the branch as it is.
        tag: the name of a tag for the commit.
        collection: the title of a collection of the repository's owner, made where it is missing, or the slug of one.
    """

    repo_id: str | None = None
    private: bool | None = None
    revision: str | None = None
    create_pr: bool = False
    tag: str | None = None
    collection: str | None = None

    def __post_init__(self) -> None:
        if self.repo_id is None:
            self._nothing_else()
            return
        check_name(self.repo_id)
        for key in ("revision", "tag"):
            value = getattr(self, key)
            if value is not None and not _REFERENCE.fullmatch(value):
                raise CompressionError(
                    f"{key}={value!r} is not the name of a {'branch' if key == 'revision' else 'tag'}; write letters,"
                    " digits, '-', '_', '.' and '/', beginning with one of the first two"
                )
        if self.branch.startswith("refs/") or re.fullmatch(r"[0-9a-f]{40}", self.branch):
            raise CompressionError(
                f"revision={self.branch!r} names no branch, and a push goes to one; write its name alone, or open a pull"
                " request with create_pr"
            )
        if self.create_pr and self.branch != MAIN:
            raise CompressionError(
                f"create_pr asks to change {MAIN}, and revision={self.revision!r}; leave one of them out"
            )
        if self.create_pr and self.tag is not None:
            raise CompressionError("tag names a commit of a branch, and create_pr makes none; tag what was merged")
        if self.collection is not None and not self.collection.strip():
            raise CompressionError("collection is empty; write its title, or its slug")

    def _nothing_else(self) -> None:
        for key in ("private", "revision", "create_pr", "tag", "collection"):
            if getattr(self, key) not in (None, False):
                raise CompressionError(f"{key} says how a result is published, and repo_id not where; write repo_id too")

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """What a recipe says of it: where a result goes, and nothing about what it is."""
        return tuple(field.name for field in dataclasses.fields(Publication))

    @property
    def branch(self) -> str:
        """Where the commit goes."""
        return self.revision or MAIN

    def command(self, folder: Path) -> str:
        """The command line that publishes a folder so."""
        words = ["hf-compress", "push", str(folder), str(self.repo_id)]
        words += ["--private"] if self.private else []
        words += ["--revision", self.revision] if self.revision else []
        words += ["--create-pr"] if self.create_pr else []
        words += ["--tag", self.tag] if self.tag else []
        words += ["--collection", self.collection] if self.collection else []
        return shlex.join(words)


def check_name(repo_id: str) -> None:
    """Refuse what the Hub takes for no name of a repository.

    Raises:
        CompressionError: saying what it does take.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise CompressionError(
            f"repo_id={repo_id[:120]!r} is not the name of a repository; write owner/name, of letters, digits, '-', '_' and"
            " '.', not beginning or ending with one of the last two, without '--' and '..', of at most 96 signs"
        ) from error
