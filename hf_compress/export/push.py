"""A finished folder to the Hub."""

import logging
from pathlib import Path

from hf_compress._hub.client import Hub
from hf_compress._hub.commit import Pushed, commit_files
from hf_compress._hub.destination import open_destination
from hf_compress._hub.files import Files
from hf_compress._hub.publication import Publication
from hf_compress.export.publishable import is_ours, open_publishable

logger = logging.getLogger(__name__)


def push(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tag: str | None = None,
    collection: str | None = None,
    token: str | None = None,
) -> Pushed:
    """Publish a folder: every file of it in one commit, or none.

    Weights are uploaded first, one file after the other, and named by the commit that brings everything else, so that
    whoever loads the repository meanwhile has the version from before, or this one. What is uploaded already is not
    uploaded again, so that the same call goes on with a push that failed; of a folder that lies there to the byte nothing
    is sent. Files of an earlier version that this one has not (its shards, its config) go with the same commit; files of
    other kinds stay.

    Args:
        folder: a result: with config and weights, or a LoRA adapter. Hidden files and states of a training stay here.
        repo_id: see `Publication`, as the others.
        private: see there.
        revision: see there.
        create_pr: see there.
        tag: see there.
        collection: see there.
        token: of the Hub; by default that of HF_TOKEN or `hf auth login`.

    Returns:
        The commit and its address.

    Raises:
        CompressionError: the folder holds no model, or another one than its manifest says; no token, no network, somebody
            else's repository; nothing was uploaded.
        PushError: it failed on the way; the message says what is on the Hub and which command goes on.
    """
    publication = Publication(
        repo_id=repo_id, private=private, revision=revision, create_pr=create_pr, tag=tag, collection=collection
    )
    return publish(folder, publication, Hub.of(token))


def publish(folder: str | Path, publication: Publication, hub: Hub) -> Pushed:
    """The same to the repository of a `Publication`.

    Args:
        folder: to publish.
        publication: with a `repo_id`.
        hub: to ask.
    """
    publishable = open_publishable(folder)
    there = open_destination(publication, hub)
    files = Files(contents=publishable.contents, is_ours=is_ours, sha256=publishable.sha256)
    return commit_files(files, there, message=publishable.message, again=publication.command(publishable.folder))
