"""Loading a checkpoint's weights back into a live model, also where the names on disk are not the module's."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from hf_compress._errors import CompressionError
from hf_compress._safetensors import read_entries, weight_files
from hf_compress._sharding.contract import is_sharded
from hf_compress.training.loading import ready_to_shard
from hf_compress.training.sharded_checkpoint import form_of
from hf_compress.training.sidecar import go_on_from, read_facts

logger = logging.getLogger(__name__)


def names_differ(model: nn.Module, checkpoint: Path) -> bool:
    """True when the checkpoint's tensor names are not all names of the model's state dict."""
    return bool(set(read_entries(checkpoint)) - set(model.state_dict()))


@torch.no_grad()
def restore_weights(model: nn.Module, checkpoint: str | Path) -> bool:
    """Load the weights of a checkpoint that the Trainer cannot load by name.

    Some architectures (ViT, Mixtral, Qwen-MoE, Llava) rename tensors when saving. The Trainer loads by name and restores
    nothing then, with a warning only (transformers#48805). `from_pretrained` knows the renaming, so the weights go through
    a second instance of the class.

    Args:
        model: a transformers model, changed in place; other modules are left to the Trainer.
        checkpoint: a folder written by `save_pretrained`.

    Returns:
        True when the weights were loaded here, False when the names already agree.

    Raises:
        CompressionError: after loading, tensors of the model are still missing.
    """
    folder = Path(checkpoint)
    if (
        not isinstance(model, PreTrainedModel)
        or not weight_files(folder)
        or form_of(folder) is not None
        or is_sharded(model)
    ):
        # A sharded run's checkpoint has the module's own names, beside the weights as others read them; and a sharded model
        # has been loaded by its class already.
        return False
    if not names_differ(model, folder):
        return False
    loaded_with_info: Any = type(model).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
    )
    loaded, info = loaded_with_info
    if info["missing_keys"]:
        raise CompressionError(
            f"{folder} lacks {len(info['missing_keys'])} tensors of {type(model).__name__}, first"
            f" {sorted(info['missing_keys'])[0]}; it is not a whole checkpoint of this model"
        )
    own = model.state_dict()
    for name, tensor in loaded.state_dict().items():
        own[name].copy_(tensor)
    logger.info("restored %d tensors of %s by from_pretrained", len(own), type(model).__name__)
    return True


def restore_finished(trainer: Any, checkpoint: Path) -> None:
    """Bring a trainer to where `train()` left it at the last step, from that step's checkpoint.

    With `load_best_model_at_end` the weights are those of the best checkpoint.

    Args:
        trainer: a CompressionTrainer of the same run that has not trained.
        checkpoint: of the last step.
    """
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    weights = checkpoint
    if trainer.args.load_best_model_at_end and state.best_model_checkpoint is not None:
        best = checkpoint.parent / Path(state.best_model_checkpoint).name  # the run's folder may have been moved
        weights = best if best.is_dir() else checkpoint
    ready_to_shard(trainer)
    go_on_from(trainer, str(weights))
    trainer._load_from_checkpoint(str(weights))
    trainer._clock.go_on_from(read_facts(checkpoint))
    trainer.state = state
