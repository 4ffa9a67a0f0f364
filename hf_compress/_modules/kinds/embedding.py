"""Embeddings: a matrix from one-hot ids to vectors."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hf_compress._modules.module_kind import ModuleKind


@dataclass(frozen=True, kw_only=True)
class Embedding(ModuleKind, name="embedding"):
    """W (V, D) holds a row per id: as a matrix (D, V), whose inputs are one-hot."""

    classes: ClassVar[tuple[type[nn.Module], ...]] = (nn.Embedding,)
    multiplies: ClassVar[bool] = False
    transposed: ClassVar[bool] = True
