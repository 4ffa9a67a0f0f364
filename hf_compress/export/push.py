"""A finished folder to the Hub."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._hub.client import Hub, PushError
from hf_compress._hub.commit import Pushed, commit_files
from hf_compress._hub.destination import open_destination
from hf_compress._hub.files import Files
from hf_compress._hub.publication import Publication
from hf_compress.checkpoints.published_files import is_ours
from hf_compress.export.publishable import open_publishable

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


def destination(export: Publication) -> None:
    """The repository that a job's result goes to: there, or to be made, and the token's to write to. An opener of jobs.

    One process asks, as the Hub answers few such questions, and what it refuses is refused in all.
    """

    def ask() -> None:
        try:
            open_destination(export, Hub.of())
        except CompressionError as error:
            raise CompressionError(f"export.repo_id: {error}") from error

    if export.repo_id is not None:
        _distributed.first_alone(ask)


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a job left behind, and where it was published.

    Attributes:
        result: the job's own.
        pushed: the commit.
    """

    result: Any
    pushed: Pushed

    def summary(self) -> str:
        """What the command line says at the end."""
        return f"{self.result.summary()}\n{self.pushed.summary()}"


def published(result: Any, folder: Path, export: Publication) -> Any:
    """The result of a job, published where its recipe says so.

    Args:
        result: the job's own, with a `summary()`.
        folder: finished, and loaded back.
        export: of the recipe.

    Returns:
        The result as it is where nothing is to be published, else a `Published`.

    Raises:
        PushError: it was not published; the folder stays, and the message says which command goes on.
    """
    if export.repo_id is None or not _distributed.is_main():
        return result
    logger.info("publishing %s", folder)
    try:
        return Published(result=result, pushed=publish(folder, export, Hub.of()))
    except CompressionError as error:
        logger.info("%s", result.summary())
        way_out = "" if isinstance(error, PushError) else f"; then {export.command(folder)!r} publishes it"
        raise PushError(f"{folder} is finished and stays; {error}{way_out}") from error
