"""The zeros of a base beneath adapters, in checkpoints that hold the adapters alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.matrix import matrix_shape, own_matrix
from hf_compress._modules.plain_model import is_adapted
from hf_compress.pruning.compute import apply_mask
from hf_compress.pruning.masks import Masks
from hf_compress.training.sidecar import read_sidecar

FILE = "pruning.safetensors"


def save_base_zeros(masks: Masks, folder: Path) -> None:
    """Write which weights of the base are zero, pruned or not, one bit each: uint8 (ceil(O * I / 8),) by module name."""
    packed = {
        name: torch.from_numpy(np.packbits((own_matrix(module) == 0).cpu().numpy().reshape(-1)))
        for name, module in masks.modules.items()
    }
    save_file(packed, folder / FILE)


@torch.no_grad()
def load_base_zeros(masks: Masks, checkpoint: Path) -> None:
    """Bring the base, as it was before its training, to the zeros of a checkpoint.

    A frozen weight is what it was or zero, so that this is all that a checkpoint must hold of it.

    Raises:
        CompressionError: the file is missing or damaged, is of another model, or the base has zeros that the checkpoint's
            had not; nothing is changed then.
    """
    file = checkpoint / FILE
    try:
        packed: Mapping[str, Tensor] = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CompressionError(
            f"{file}, which says what of the base is pruned, cannot be read: {reason_of(error)}; take another checkpoint"
        ) from error
    keep = {name: _unpacked(name, module, packed, file) for name, module in masks.modules.items()}
    for name, module in masks.modules.items():
        more = int(((own_matrix(module) == 0) & keep[name]).count_nonzero())
        if more:
            raise CompressionError(
                f"{more} weights of {name} are zero and were not in {checkpoint.name}; a resumed run begins with the base"
                " as the run began with it: load it again before you wrap it"
            )
    for name, module in masks.modules.items():
        apply_mask(module, keep[name])


def _unpacked(name: str, module: nn.Module, packed: Mapping[str, Tensor], file: Path) -> Tensor:
    """(O, I) bool, True = not zero.

    Raises:
        CompressionError: there is none of this size.
    """
    outputs, inputs = matrix_shape(module)
    bits = packed.get(name)
    if bits is None or bits.numel() != (outputs * inputs + 7) // 8:
        raise CompressionError(f"{file} has no zeros of {name} with {outputs} x {inputs} weights; is it another model?")
    zeros = np.unpackbits(bits.numpy(), count=outputs * inputs).astype(bool)
    return ~torch.from_numpy(zeros).view(outputs, inputs).to(own_matrix(module).device)


def restore_base(trainer: Any, model: nn.Module, checkpoint: str | Path) -> None:
    """The same for a trainer that prunes beneath adapters; a checkpoint without a sidecar is a plain Trainer's.

    Raises:
        CompressionError: see `load_base_zeros`.
    """
    pruning = trainer.compression.pruning
    if pruning is not None and is_adapted(model) and read_sidecar(checkpoint) is not None:
        load_base_zeros(Masks(model, pruning), Path(checkpoint))
