"""What a sharded run does otherwise: it saves whole models, and goes on from checkpoints of other forms."""

import contextlib
from pathlib import Path
from typing import Any

import transformers
from packaging.version import Version
from torch import nn
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._sharding.contract import is_sharded
from hf_compress.training.checkpoints import clear_place
from hf_compress.training.deepspeed import zero_stage
from hf_compress.training.loading import ready_to_shard
from hf_compress.training.sharded_checkpoint import (
    FULL,
    form_of,
    is_stateless,
    is_unsharded,
    load_optimizer_unsharded,
    load_rate,
    load_weights_unsharded,
    read_as_written,
)
from hf_compress.training.unsharded_checkpoint import load_optimizer_sharded, load_weights_sharded
from hf_compress.training.whole_model import save_sharded

_Host: Any = object
"""The mixin stands before a Trainer class: `class MyTrainer(CompressionMixin, SFTTrainer)`."""


class RunsSharded(_Host):
    """The part of the mixin for FSDP 2 and ZeRO-3; without them all is the host's, checkpoints of a sharded run apart."""

    @property
    def _cuts_weights(self) -> bool:
        return self.is_fsdp_enabled or zero_stage(self) == 3

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The Trainer's; under FSDP 2 and ZeRO-3 the model is written whatever the form of checkpoints.

        A checkpoint begins with its model, so this is where the place of one is cleared.
        """
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        if _internal_call and folder.name.startswith(f"{PREFIX_CHECKPOINT_DIR}-") and folder != Path(self.args.output_dir):
            clear_place(folder, self.args)
        if not self._cuts_weights:
            super().save_model(output_dir, _internal_call)
            return
        save_sharded(self, folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Not of a model that is whole in the first process alone, nor of one that is not sharded yet.

        transformers shards a model together with its optimizer, so up to 5.23 there is none to evaluate before training.
        """
        if self._cuts_weights and self.finalized_model is not None and self.finalized_model is self.model:
            raise CompressionError(
                "the finalized model is whole in the first process alone, and an evaluation is a matter of all; evaluate"
                " before finalize(), or load the saved folder in one process"
            )
        if self.is_fsdp_enabled and not is_sharded(self.model) and Version(transformers.__version__) < Version("5.24"):
            raise CompressionError(
                f"transformers {transformers.__version__} shards a model when its training begins and cannot evaluate it"
                " before; train first (eval_on_start evaluates at the beginning), or take transformers 5.24"
            )
        ready_to_shard(self)
        return super().evaluation_loop(*args, **kwargs)

    def _save_rng_state(self, output_dir: str) -> None:
        """The last file of every process but the first, which then says that the checkpoint is whole and removes others."""
        super()._save_rng_state(output_dir)
        _distributed.barrier()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """A checkpoint of a sharded run in the form in which it is there, also where this run is not sharded."""
        form = form_of(Path(resume_from_checkpoint))
        if form is not None and not self.is_fsdp_enabled:
            load_weights_unsharded(self, self.model if model is None else model, Path(resume_from_checkpoint), form)
            return
        if self.is_fsdp_enabled and is_unsharded(Path(resume_from_checkpoint)):
            load_weights_sharded(self.model if model is None else model, Path(resume_from_checkpoint))
            return
        with self._reading(form):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The same of the optimizer's state."""
        form = None if checkpoint is None else form_of(Path(checkpoint))
        if checkpoint is not None and form == FULL and is_stateless(self.optimizer):
            load_rate(self, Path(checkpoint))
            return
        if checkpoint is not None and form is not None and not self.is_fsdp_enabled:
            load_optimizer_unsharded(self, Path(checkpoint), form)
            return
        if checkpoint is not None and self.is_fsdp_enabled and is_unsharded(Path(checkpoint)):
            load_optimizer_sharded(self, Path(checkpoint))
            return
        with self._reading(form):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_best_model(self) -> None:
        """Of this run, or of one that wrote another form."""
        best = self.state.best_model_checkpoint
        if best is not None and self.is_fsdp_enabled and is_unsharded(Path(best)):
            load_weights_sharded(self.model, Path(best))
            return
        with self._reading(None if best is None else form_of(Path(best))):
            super()._load_best_model()

    def _reading(self, form: str | None) -> contextlib.AbstractContextManager[None]:
        if form is None or not self.is_fsdp_enabled:
            return contextlib.nullcontext()
        return read_as_written(self.accelerator.state.fsdp_plugin, form)
