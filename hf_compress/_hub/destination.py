"""A repository before something goes there: whether it may, and what lies there."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_compress._errors import CompressionError
from hf_compress._hub.client import Hub, said, status_of
from hf_compress._hub.publication import MAIN, Publication, check_name

logger = logging.getLogger(__name__)

_TOKENS = "https://huggingface.co/settings/tokens"


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a revision.

    Attributes:
        blob: its name in git: the SHA-1 of what is stored there.
        sha256: of a large file's content; None for a small one.
    """

    blob: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Destination:
    """What was found before anything is uploaded.

    Attributes:
        hub: that was asked.
        publication: with the whole name of the repository.
        exists: the repository is there.
        head: the commit that its branch is at; None where there is no such branch yet.
        files: path -> file, of that commit.
        tagged: the commit that the tag names already.
    """

    hub: Hub
    publication: Publication
    exists: bool = False
    head: str | None = None
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    tagged: str | None = None

    @property
    def repo_id(self) -> str:
        """Owner and name."""
        return str(self.publication.repo_id)

    def made(self) -> "Destination":
        """The same with the repository and its branch, which are made where they are missing.

        Raises:
            Exception: the Hub's, where it makes none.
        """
        wanted, api, ask = self.publication, self.hub.api, self.hub.ask
        if not self.exists:
            ask(api.create_repo, self.repo_id, private=wanted.private, exist_ok=True)
            logger.info("made %s%s", self.repo_id, " (private)" if wanted.private else "")
        if self.head is None and wanted.branch != MAIN:
            ask(api.create_branch, self.repo_id, branch=wanted.branch, exist_ok=True)
        return self if self.head is not None else self.again()

    def again(self) -> "Destination":
        """What lies there now."""
        head, files = _look(self.hub, self.repo_id, self.publication.branch)
        return dataclasses.replace(self, exists=True, head=head, files=files)


def known_destination(publication: Publication, hub: Hub) -> Destination:
    """The same of a repository that is known to be there and the token's; the commit says where it is not.

    Args:
        publication: with the whole name.
        hub: to ask.

    Raises:
        Exception: the Hub's.
    """
    found = Destination(hub=hub, publication=publication, exists=True)
    try:
        return found.again()
    except Exception as error:
        if status_of(error) == 404 and publication.branch != MAIN:
            return found
        raise


def open_destination(publication: Publication, hub: Hub) -> Destination:
    """Ask whether the token's owner may write there, and what is there; nothing is written.

    Args:
        publication: with a `repo_id`.
        hub: to ask.

    Raises:
        CompressionError: no token, no network, somebody else's repository or collection, one that is public and was to be
            private.
    """
    account = _account(hub)
    name = str(publication.repo_id)
    if "/" not in name:
        name = f"{account['name']}/{name}"
        check_name(name)
    found = Destination(hub=hub, publication=dataclasses.replace(publication, repo_id=name))
    _check_collection(hub, publication.collection or "", account)
    known = _repository(hub, name, account)
    _check_owner(name, account, found.publication, exists=known is not None)
    if known is None:
        return found
    if not publication.create_pr:
        _check_rights(hub, name, account)
    if publication.private and not known.private:
        raise CompressionError(
            f"{name} is public, and private is asked for; make it private in its settings, or leave private out"
        )
    found = dataclasses.replace(found, exists=True)
    try:
        refs = hub.ask(hub.api.list_repo_refs, name)
        if publication.branch in {ref.name for ref in refs.branches}:
            found = found.again()
    except Exception as error:
        raise _unreachable(hub, error) from error
    tagged = {ref.name: ref.target_commit for ref in refs.tags}.get(publication.tag or "")
    return dataclasses.replace(found, tagged=tagged)


def _account(hub: Hub) -> dict[str, Any]:
    """Who the token belongs to.

    Raises:
        CompressionError: there is none, it may only read, the Hub does not know it, or cannot be reached.
    """
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        account: dict[str, Any] = hub.ask(hub.api.whoami)
    except LocalTokenNotFoundError as error:
        raise CompressionError(
            "there is no token for the Hub; set HF_TOKEN in the environment, or log in with `hf auth login`"
        ) from error
    except UnicodeEncodeError as error:  # which says where the letter stands, and not what to do
        raise CompressionError(
            f"the token that HF_TOKEN or `hf auth login` gave holds letters that no token has; copy it anew from {_TOKENS}"
        ) from error
    except Exception as error:  # the client raises many kinds; each means: not known
        if status_of(error) in (401, 403):
            raise CompressionError(
                "the Hub does not know the token that HF_TOKEN or `hf auth login` gave; make one that may write at"
                f" {_TOKENS}"
            ) from error
        raise _unreachable(hub, error) from error
    role = account.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        raise CompressionError(f"the token of {account['name']} may only read; make one that may write at {_TOKENS}")
    return account


def _repository(hub: Hub, name: str, account: Mapping[str, Any]) -> Any:
    """What the Hub says of the repository; None where there is none, or none that this account sees."""
    try:
        return hub.ask(hub.api.model_info, name)
    except Exception as error:
        if status_of(error) == 404:
            return None
        if status_of(error) in (401, 403):
            raise _foreign(name, account, error) from error
        raise _unreachable(hub, error) from error


def _check_owner(name: str, account: Mapping[str, Any], publication: Publication, exists: bool) -> None:
    """Refuse an owner for whom this account cannot write, as far as the account says so."""
    owner = name.partition("/")[0]
    if publication.create_pr:
        if not exists:
            raise CompressionError(f"create_pr asks to change {name}, and there is no such repository; leave create_pr out")
    elif not _writes_for(owner, account):
        raise _foreign(name, account)


def _writes_for(owner: str, account: Mapping[str, Any]) -> bool:
    roles = {one["name"].lower(): one.get("roleInOrg") for one in account.get("orgs", ())}
    return owner.lower() == account["name"].lower() or roles.get(owner.lower(), "read") != "read"


def _check_collection(hub: Hub, collection: str, account: Mapping[str, Any]) -> None:
    """Refuse the slug of a collection that is not there or not the account's; a title makes one."""
    if "/" not in collection:
        return
    try:
        if _writes_for(collection.partition("/")[0], account):
            hub.ask(hub.api.get_collection, collection)
            return
    except Exception as error:
        if status_of(error) not in (400, 401, 403, 404):
            raise _unreachable(hub, error) from error
    raise CompressionError(
        f"collection={collection!r} is not the slug of a collection of yours; copy it from the collection's address, or"
        " write a title, which makes one"
    )


def _check_rights(hub: Hub, name: str, account: Mapping[str, Any]) -> None:
    """Refuse a repository that the token may not write to."""
    try:
        hub.ask(hub.api.auth_check, name, write=True)
    except TypeError:  # huggingface_hub before `write`: the commit will say it
        return
    except Exception as error:
        if status_of(error) in (401, 403, 404):
            raise _foreign(name, account, error) from error
        raise _unreachable(hub, error) from error


def _foreign(name: str, account: Mapping[str, Any], error: Exception | None = None) -> CompressionError:
    members = ", ".join(one["name"] for one in account.get("orgs", ()) if one.get("roleInOrg") != "read")
    may = f"{account['name']}{f' (and for {members})' if members else ''}"
    reason = f" ({said(error)})" if error is not None else ""
    return CompressionError(
        f"repo_id={name!r} is not the token's to write to{reason}, which writes for {may}; name a repository of yours, or"
        " ask its owners with create_pr"
    )


def _unreachable(hub: Hub, error: Exception) -> CompressionError:
    return CompressionError(f"the Hub ({hub.api.endpoint}): {said(error)}; nothing was uploaded")


def _look(hub: Hub, name: str, branch: str) -> tuple[str, dict[str, RemoteFile]]:
    """The commit of a branch, and its files."""
    head = str(hub.ask(hub.api.model_info, name, revision=branch).sha)
    entries = hub.ask(lambda: list(hub.api.list_repo_tree(name, recursive=True, revision=head)))
    files = {
        entry.path: RemoteFile(blob=entry.blob_id, sha256=entry.lfs.sha256 if entry.lfs else None)
        for entry in entries
        if hasattr(entry, "blob_id")  # the rest are folders
    }
    return head, files
