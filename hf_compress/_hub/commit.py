"""A folder's files onto a branch of the Hub, in one commit.

Large files go first, one after the other, and no branch knows of them; the commit that names them is one request with the
commit that it must follow. So whoever loads the branch meanwhile has the files from before or those from after.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_compress._errors import CompressionError
from hf_compress._hub.card import check_card
from hf_compress._hub.client import PushError, is_passing, pause, said, status_of
from hf_compress._hub.destination import Destination
from hf_compress._hub.files import Files
from hf_compress._units import format_bytes

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

logger = logging.getLogger(__name__)

_MOVED = (409, 412)
"""What the Hub answers where the branch is not at the commit that this one must follow; 409 also for a passing conflict."""
_LARGE = ".safetensors"


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What is on the Hub now.

    Attributes:
        repo_id: owner and name.
        url: of the commit, or of the pull request.
        commit: its SHA-1.
        files: how many there are in the folder.
        changed: False where the branch held them all already.
        removed: files of an earlier version that went with the same commit.
    """

    repo_id: str
    url: str
    commit: str
    files: int
    changed: bool = True
    removed: tuple[str, ...] = ()

    def summary(self) -> str:
        """What the command line says at the end."""
        if not self.changed:
            return f"there already    {self.url}"
        gone = f" (removed: {', '.join(self.removed)})" if self.removed else ""
        return f"published        {self.url}{gone}"


def commit_files(files: Files, there: Destination, *, message: str, again: str) -> Pushed:
    """Bring the branch to hold these files, in one commit.

    Args:
        files: what is to lie there.
        there: what was found there.
        message: of the commit.
        again: the command that goes on where this fails.

    Raises:
        CompressionError: the card has front matter that the Hub does not take, or the tag names another commit; nothing was
            uploaded.
        PushError: saying what is on the Hub.
    """
    check_card(files, there)
    same = there.exists and not there.publication.create_pr and files.lie_in(there)
    if there.tagged is not None and not (same and there.tagged == there.head):
        raise CompressionError(
            f"tag {there.publication.tag!r} of {there.repo_id} names commit {there.tagged[:7]} already, which is not this"
            " folder; name another tag, or remove that one"
        )
    if same:
        address = f"{there.hub.api.endpoint}/{there.repo_id}/commit/{there.head}"
        done = Pushed(repo_id=there.repo_id, url=address, commit=str(there.head), files=len(files.contents), changed=False)
    else:
        done = _Commit(files, there, message, again).make()
    _name(done, there, again)
    return done


class _Commit:
    """One push, which knows how far it is."""

    def __init__(self, files: Files, there: Destination, message: str, again: str) -> None:
        self.files, self.there, self.message, self.again = files, there, message, again
        self._uploaded: list[str] = []
        self._bytes = 0

    def make(self) -> Pushed:
        try:
            self.there = self.there.made()
            operations = self._upload()
            return self._commit(operations)
        except CompressionError:
            raise
        except Exception as error:
            raise self._failed(said(error)) from error
        except KeyboardInterrupt:
            logger.warning("%s", self._state())
            raise

    def _upload(self) -> list[Any]:
        """The operations of the commit, with every large file where the Hub will look for it."""
        from huggingface_hub import CommitOperationAdd

        additions = {
            path: CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
            for path, content in sorted(self.files.contents.items())
        }
        large = [path for path in additions if path.endswith(_LARGE)]
        for number, path in enumerate(large, 1):
            size = additions[path].upload_info.size
            logger.info("uploading %s (%s), %d of %d", path, format_bytes(size), number, len(large))
            self._preupload([additions[path]])
            self._uploaded.append(path)
            self._bytes += size
        self._preupload(list(additions.values()))
        return list(additions.values())

    def _preupload(self, additions: "list[CommitOperationAdd]") -> None:
        publication = self.there.publication
        self.there.hub.ask(
            self.there.hub.api.preupload_lfs_files,
            self.there.repo_id,
            additions,
            revision=publication.branch,
            create_pr=publication.create_pr,
            free_memory=False,
        )

    def _commit(self, additions: list[Any]) -> Pushed:
        from huggingface_hub import CommitOperationDelete

        there, api = self.there, self.there.hub.api
        publication, gone = there.publication, self.files.gone(there)
        for wait in there.hub.pauses():
            try:
                info = api.create_commit(
                    there.repo_id,
                    [*additions, *(CommitOperationDelete(path) for path in gone)],
                    commit_message=self.message,
                    revision=publication.branch,
                    create_pr=publication.create_pr,
                    parent_commit=there.head,
                )
                return self._pushed(info.pr_url or info.commit_url, info.oid, gone)
            except Exception as error:
                landed = self._landed(error, gone)
                if landed is not None:
                    return landed
                if wait is None or not (is_passing(error) or status_of(error) in _MOVED):
                    raise
                pause(error, wait)
        raise AssertionError("the last try returns or raises")

    def _landed(self, error: Exception, gone: list[str]) -> Pushed | None:
        """The commit, where it was made and the answer was lost; None where the branch is as it was.

        Raises:
            PushError: somebody else has moved the branch, or a pull request may have been opened.
        """
        there = self.there
        if there.publication.create_pr:
            if is_passing(error) and status_of(error) != 429:
                raise PushError(
                    f"{there.repo_id}: {said(error)}, so the pull request may be open or not; look at"
                    f" {there.hub.api.endpoint}/{there.repo_id}/discussions, and where there is none {self.again!r} goes on"
                ) from error
            return None
        if not (is_passing(error) or status_of(error) in _MOVED):
            return None
        try:
            now = there.again()
        except Exception as lost:
            raise PushError(
                f"{self._place()}: {said(error)}, and then {said(lost)}, so the commit may be there, whole, or not at all;"
                f" {self.again!r} finds out and goes on"
            ) from error
        if now.head == there.head:
            return None
        if self.files.lie_in(now):
            return self._pushed(f"{there.hub.api.endpoint}/{there.repo_id}/commit/{now.head}", str(now.head), gone)
        raise PushError(
            f"somebody else has committed to {self._place()} meanwhile ({str(now.head)[:7]}), so nothing of this push is in"
            f" it; look at what lies there, and {self.again!r} brings this folder after it"
        ) from error

    def _pushed(self, url: str, commit: str, gone: list[str]) -> Pushed:
        return Pushed(
            repo_id=self.there.repo_id, url=url, commit=commit, files=len(self.files.contents), removed=tuple(gone)
        )

    def _failed(self, reason: str) -> PushError:
        return PushError(f"the push to {self._place()} failed: {reason}. {self._state()}")

    def _state(self) -> str:
        """What is on the Hub, and how to go on."""
        there = self.there
        branch = f"its branch is as it was ({there.head[:7]})" if there.head else "nothing is in it yet"
        large = sum(path.endswith(_LARGE) for path in self.files.contents)
        kept = f"{len(self._uploaded)} of {large} weight files ({format_bytes(self._bytes)}) are uploaded and will not be"
        state = f"{branch}; {kept} again" if self._uploaded else f"{branch}; no weights are uploaded"
        return f"On the Hub {state}. {self.again!r} goes on"

    def _place(self) -> str:
        return f"{self.there.repo_id} ({self.there.publication.branch})"


def _name(done: Pushed, there: Destination, again: str) -> None:
    """Tag the commit and put the repository into a collection, where that is asked for."""
    publication, api, ask = there.publication, there.hub.api, there.hub.ask
    what = f"tag {publication.tag!r}"
    try:
        if publication.tag is not None and there.tagged is None:
            ask(api.create_tag, there.repo_id, tag=publication.tag, revision=done.commit, exist_ok=True)
        if publication.collection is not None:
            what = f"collection {publication.collection!r}"
            slug = publication.collection if "/" in publication.collection else _collection(there)
            ask(api.add_collection_item, slug, item_id=there.repo_id, item_type="model", exists_ok=True)
    except Exception as error:
        raise PushError(
            f"the files are on the Hub ({done.url}), and the {what} is not: {said(error)}. {again!r} goes on"
        ) from error


def _collection(there: Destination) -> str:
    """The slug of the owner's collection of that title, which is made where there is none."""
    owner, api = there.repo_id.partition("/")[0], there.hub.api
    private = bool(there.publication.private)
    made = there.hub.ask(
        api.create_collection, there.publication.collection, namespace=owner, private=private, exists_ok=True
    )
    return str(made.slug)
