"""Loading a checkpoint's weights back into a live model, also where the names on disk are not the module's."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._safetensors import read_entries, weight_files

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
    if not isinstance(model, PreTrainedModel) or not weight_files(folder) or not names_differ(model, folder):
        return False
    loaded_with_info: Any = type(model).from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
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
