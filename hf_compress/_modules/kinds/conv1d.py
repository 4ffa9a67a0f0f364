"""The Conv1D of transformers: a linear layer that stores its matrix the other way round."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn
from transformers.pytorch_utils import Conv1D as StoredTransposed

from hf_compress._modules.module_kind import ModuleKind


@dataclass(frozen=True, kw_only=True)
class Conv1D(ModuleKind, name="conv1d"):
    """y = x W + b, W (I, O): GPT-2's layers."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (StoredTransposed,)
    transposed: ClassVar[bool] = True
