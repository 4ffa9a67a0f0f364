"""Pushes of a Trainer: model, manifest and card of one moment in one commit."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import PushInProgress

from hf_compress._errors import CompressionError
from hf_compress._hub.client import Hub, PushError, said
from hf_compress._hub.commit import Pushed, commit_files
from hf_compress._hub.destination import known_destination
from hf_compress._hub.files import Files
from hf_compress._hub.publication import Publication
from hf_compress._safetensors import weight_files
from hf_compress.checkpoints.hashes import ADAPTER
from hf_compress.checkpoints.published_files import CARD, is_ours, is_state

logger = logging.getLogger(__name__)

_Host: Any = object
"""The mixin stands before a Trainer class: `class MyTrainer(CompressionMixin, SFTTrainer)`."""
_FOLDERS = ("additional_chat_templates",)
"""Folders of a checkpoint that belong to the model."""


class PushesWhole(_Host):
    """The part of the mixin for `push_to_hub`.

    The host uploads its output folder, with xet in several commits; of a checkpoint it copies weights and configs there
    first. Here every push is one commit of the same files, and states of the training stay.
    """

    push_in_progress: Any

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The host's, in one commit; see `Trainer.push_to_hub` for the arguments.

        Returns:
            Where it is, a `Pushed`; with `blocking=False` a future of it; None on processes other than the first.

        Raises:
            PushError: saying what is on the Hub.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = self.args.hub_token if token is None else token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.create_model_card(**{"model_name": self.hub_model_id.split("/")[-1], **kwargs})
        self._finish_current_push()
        folder = Path(self.args.output_dir)

        def push() -> Pushed:
            return _push(self, _of_output(folder), str(commit_message), token, revision)

        return push() if blocking else _in_background(push)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The host's, with what was done to the model and how far it is."""
        tags = kwargs.pop("tags", None) or []
        kept = {"from_zeros"} if self.compression.keeps_zeros else set()
        names = sorted(kept | {strategy.name for strategy in self.compression.strategies()})
        own = [*(getattr(self.model, "model_tags", None) or ()), *(["hf_compress", *names] if names else ())]
        kwargs["tags"] = list(dict.fromkeys([*([tags] if isinstance(tags, str) else tags), *own])) or None
        super().create_model_card(*args, **kwargs)
        card = Path(self.args.output_dir) / CARD
        if names and self.is_world_process_zero():
            card.write_text(f"{card.read_text(encoding='utf-8').rstrip()}\n\n{_section(self)}", encoding="utf-8")

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """What the checkpoint holds, with its card, in the background; what fails there is said."""
        strategy = self.args.hub_strategy
        if not self.is_world_process_zero() or strategy == HubStrategy.END:
            return
        running = self.push_in_progress
        if not self.args.hub_always_push and running is not None and not running.is_done():
            logger.warning(
                "step %d is not pushed, because an earlier push is still running; hub_always_push=True pushes every one",
                self.state.global_step,
            )
            return
        checkpoint = Path(checkpoint_folder)
        if not (checkpoint / ADAPTER).is_file() and not weight_files(checkpoint):
            logger.warning("%s is not pushed, because its weights lie in shards of the processes", checkpoint)
            return
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.create_model_card(model_name=self.hub_model_id.split("/")[-1])
        output = Path(self.args.output_dir)
        beside = {path: file for path, file in _of_output(output).items() if "/" in path}
        kept = _kept({**beside, **_of_checkpoint(checkpoint), CARD: output / CARD}, output)
        jobs = [_in_background(lambda: _push_kept(self, kept, self._push_message()))]
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            jobs.append(self._push_state(checkpoint, strategy))
        if running is None or running.is_done():
            self.push_in_progress = PushInProgress(jobs)  # type: ignore[arg-type]  # takes a list
        else:
            running.jobs.extend(jobs)

    def _push_message(self) -> str:
        """The host's."""
        if self.args.save_strategy == "steps":
            return f"Training in progress, step {self.state.global_step}"
        return f"Training in progress, epoch {int(self.state.epoch)}"

    def _push_state(self, checkpoint: Path, strategy: HubStrategy) -> "Future[Any]":
        """The whole checkpoint in a folder of the repository, to go on from: the host's, whose commits are its own."""
        place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else checkpoint.name
        upload = Hub.of(self.args.hub_token).api.upload_folder
        message, revision = f"{self._push_message()}, checkpoint", self.args.hub_revision
        return _in_background(
            lambda: upload(
                repo_id=self.hub_model_id,
                folder_path=checkpoint,
                path_in_repo=place,
                commit_message=message,
                revision=revision,
            )
        )


def _push(trainer: Any, files: dict[str, Path], message: str, token: str | None, revision: str | None) -> Pushed:
    publication = Publication(repo_id=trainer.hub_model_id, revision=revision or trainer.args.hub_revision)
    try:
        there = known_destination(publication, Hub.of(token))
        contents = Files(contents=files, is_ours=is_ours)
        done = commit_files(contents, there, message=message, again="trainer.push_to_hub()")
    except CompressionError:
        raise
    except Exception as error:
        raise PushError(f"the push to {trainer.hub_model_id} failed before it began: {said(error)}") from error
    logger.info("%s", done.summary())
    return done


def _push_kept(trainer: Any, kept: Path, message: str) -> Pushed:
    """A checkpoint may be rotated away while it is pushed, so what is pushed are links to its files."""
    try:
        return _push(trainer, _of_output(kept), message, trainer.args.hub_token, None)
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def _kept(files: dict[str, Path], place: Path) -> Path:
    """A folder of links to weights, which nobody changes, and of copies of the rest."""
    folder = Path(tempfile.mkdtemp(prefix=".push-", dir=place))
    for path, file in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        try:
            if file.suffix != ".safetensors":
                raise OSError
            os.link(file, folder / path)
        except OSError:  # or a file system without links
            shutil.copyfile(file, folder / path)
    return folder


def _of_checkpoint(folder: Path) -> dict[str, Path]:
    """Path in the repository -> file, of what belongs to the model."""
    below = [file for name in _FOLDERS for file in (folder / name).rglob("*")]
    return {path: file for path, file in _of_output(folder).items() if file.parent == folder or file in below}


def _of_output(folder: Path) -> dict[str, Path]:
    """The same of what the host would upload of its output folder, without the states of the training.

    Below it lie averages of the weights, and the logs that the Hub shows.
    """
    found = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {path: file for path, file in found.items() if not any(_stays(part) for part in path.split("/"))}


def _stays(name: str) -> bool:
    return name.startswith((".", "_")) or is_state(name)


def _in_background(action: Callable[[], Any]) -> "Future[Any]":
    """One after the other, by huggingface_hub's own thread, as the host does."""
    from huggingface_hub import run_as_future

    future: Future[Any] = run_as_future(action)
    future.add_done_callback(_say_failed)
    return future


def _say_failed(future: "Future[Any]") -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        logger.warning("a push in the background failed; the training goes on: %s", error)


def _section(trainer: Any) -> str:
    """What was done, and what the weights are."""
    lines = ["## Compression", "", *(["- masks: `from_zeros`"] if trainer.compression.keeps_zeros else [])]
    for strategy in trainer.compression.strategies():
        reference = f" ({strategy.reference})" if strategy.reference else ""
        lines.append(f"- {strategy.kind}: `{strategy.name}`{reference}")
    state = trainer.state
    if trainer.finalized_model is not None and trainer.finalized_model is trainer.model:
        said_of = "The weights are the compressed model's."
    else:
        said_of = (
            f"The weights are those of step {state.global_step} of {state.max_steps}, in training: dense, and not yet the"
            " compressed model."
        )
    return "\n".join(
        [*lines, "", f"{said_of} `compression.json` beside them says what was asked for and how far it is.", ""]
    )
